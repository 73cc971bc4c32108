"""A NATS server in memory, for the simulation: as much of it as rooms use, for the unmodified nats-py.

That is publishing and subscribing, and of JetStream: streams that are made, changed and asked for, messages that are
recognised by their `Nats-Msg-Id`, republished once they are kept, and read by the (batched) direct get. Like the real
server it handles each client for itself: what one client publishes reaches everybody in that order, but what two
publish at the same time may reach one subscriber in this order, and another in the other. A stream has one order.

What a killed server has acknowledged is there when it is started again; what it had received, and not yet kept, is
lost. When the power is cut, that is so with `sync_interval: always` only: else what it has kept since it wrote to the
disk last is lost, too. tests/test_nats.py asks both the same questions.
"""

import asyncio
import datetime
import json
import time
from collections.abc import Iterator

from chatroom_lib.runs.network import Listener

ADDRESS = "127.0.0.1", 4222
KEEPING = (0.0003, 0.003)  # seconds until a message is on the disk
FAN_OUT = 0.001  # seconds, at most, until what is published is on its way to one subscriber
API = "$JS.API."
NOT_SIMULATED = {"code": 501, "err_code": 10000, "description": "chatroom_lib does not simulate this"}
NOT_FOUND = {"code": 404, "err_code": 10059, "description": "stream not found"}


class Nats:
    url = f"nats://{ADDRESS[0]}:{ADDRESS[1]}"

    def __init__(self, loop):
        self.loop = loop
        self.sync_interval = 0.0  # seconds from one write to the disk to the next; 0: always at once
        self.streams: dict[str, Stream] = {}
        self.clients: list[Client] = []

    def start(self) -> None:
        self.listener = self.loop.listening[ADDRESS] = Listener(self.loop, lambda: Client(self), ADDRESS)

    def kill(self, power: bool = False, disk: bool = False) -> None:
        """`power`: what is not on the medium is lost, too; `disk`: its streams are."""
        self.listener.die()
        for client in self.clients:
            client.alive = False
        self.clients = []
        for stream in self.streams.values():
            stream.coming.clear()
            if power and self.sync_interval:
                stream.lose_unwritten()
        if disk:
            self.streams.clear()

    def route(self, sender: "Client | None", subject: str, data: bytes, reply: str = "", head: bytes = b"") -> bool:
        """To all who have subscribed to it. Returns whether anybody has."""
        found = [(client, sid) for client in self.clients for sid in client.subscribed_to(subject)]
        for client, sid in found:
            client.deliver_from(sender, message(subject, sid, data, reply, head))
        return bool(found)

    def answer(self, reply: str, **fields) -> None:
        self.route(None, reply, json.dumps(fields).encode())

    def publish(self, client: "Client", subject: str, data: bytes, reply: str, head: bytes) -> None:
        heard = self.route(client, subject, data, reply, head)
        if subject.startswith(API):
            self.ask(subject.removeprefix(API), data, reply)
        elif streams := [stream for stream in self.streams.values() if stream.is_of(subject)]:
            streams[0].take(subject, data, reply, head)
        elif reply and not heard:
            self.route(None, reply, b"", head=b"NATS/1.0 503\r\n\r\n")

    def ask(self, verb: str, data: bytes, reply: str) -> None:
        verb, _, name = verb.rpartition(".")
        stream = self.streams.get(name)
        if verb == "STREAM.CREATE" and not stream:
            stream = self.streams[name] = Stream(self, json.loads(data))
            self.answer(reply, **stream.info(), did_create=True)
        elif not stream:
            self.answer(reply, error=NOT_FOUND)
        elif verb == "DIRECT.GET":
            for head, content in stream.direct_get(json.loads(data)):
                self.route(None, reply, content, head=head)
        elif verb not in ("STREAM.INFO", "STREAM.UPDATE"):
            self.answer(reply, error=NOT_SIMULATED)
        else:
            if verb == "STREAM.UPDATE":
                stream.config |= json.loads(data)
                stream.trim()
            self.answer(reply, **stream.info())


class Stream:
    def __init__(self, nats: Nats, config: dict):
        self.nats, self.loop, self.config = nats, nats.loop, config
        self.created = now()
        self.kept: dict[int, tuple[float, bytes, bytes]] = {}  # number -> when it was kept, its head and data
        self.last = 0
        self.ids: dict[bytes, tuple[int, float]] = {}  # id -> number, and when it was kept
        self.coming: list[tuple] = []  # received, and not yet kept
        self.free_at = 0.0  # when the disk is

    def info(self) -> dict:
        state = {"messages": len(self.kept), "bytes": 0, "consumer_count": 0}
        state |= {"first_seq": min(self.kept, default=self.last + (self.last > 0)), "last_seq": self.last}
        return {"config": self.config, "state": state, "created": self.created}

    def is_of(self, subject: str) -> bool:
        return any(matches(pattern.split("."), subject.split(".")) for pattern in self.config["subjects"])

    def take(self, subject: str, data: bytes, reply: str, head: bytes) -> None:
        self.free_at = max(self.free_at, self.loop.now) + self.loop.random.uniform(*KEEPING)
        self.coming.append((subject, data, reply, head))
        self.loop.call_at(self.free_at, self.keep_next)

    def keep_next(self) -> None:
        if not self.coming:
            return  # the server has been killed meanwhile
        subject, data, reply, head = self.coming.pop(0)
        id = id_in(head)
        known, when = self.ids.get(id, (None, 0.0))
        if id and known and time.time() - when < self.config["duplicate_window"] / 1e9:
            return self.acknowledge(reply, seq=known, duplicate=True)
        self.last += 1
        head = self.head(self.last, subject, head)
        self.kept[self.last] = time.time(), head, data
        if id:
            self.ids[id] = self.last, time.time()
        self.trim()
        self.acknowledge(reply, seq=self.last)
        if republish := self.config.get("republish"):
            self.nats.route(None, republish["dest"], data, head=head)

    def acknowledge(self, reply: str, **fields) -> None:
        if reply:
            self.nats.route(None, reply, json.dumps({"stream": self.config["name"], **fields}).encode())

    def lose_unwritten(self) -> None:
        interval = self.nats.sync_interval
        written = time.time() - self.loop.now % interval  # when it was written last
        self.kept = {seq: each for seq, each in self.kept.items() if each[0] <= written}
        self.ids = {id: each for id, each in self.ids.items() if each[1] <= written}
        self.last = max(self.kept, default=0)

    def trim(self) -> None:
        most, oldest = self.config.get("max_msgs", -1), time.time() - (self.config.get("max_age") or 1e30) / 1e9
        gone = [seq for seq, (when, *_) in self.kept.items() if when < oldest or 0 < most <= self.last - seq]
        for seq in gone:
            del self.kept[seq]

    def direct_get(self, wanted: dict) -> Iterator[tuple[bytes, bytes]]:
        """(head, data) of each of the messages from a number on, and what says that those were all."""
        self.trim()
        found = [seq for seq in self.kept if seq >= wanted["seq"]][: wanted.get("batch", 1)]
        for seq in found:
            _, head, data = self.kept[seq]
            yield head, data
        if not found:
            yield b"NATS/1.0 404 Message Not Found\r\n\r\n", b""
        elif "batch" in wanted:
            yield b"NATS/1.0 204 EOB\r\n\r\n", b""

    def head(self, seq: int, subject: str, own: bytes) -> bytes:
        """With what the publisher has said there."""
        own_lines = own.decode().split("\r\n")[1:-2]
        lines = *own_lines, f"Nats-Stream: {self.config['name']}", f"Nats-Subject: {subject}", f"Nats-Sequence: {seq}"
        return "\r\n".join(["NATS/1.0", *lines, "", ""]).encode()


class Client(asyncio.Protocol):
    """A client's connection, at the server's end."""

    def __init__(self, nats: Nats):
        self.nats, self.loop = nats, nats.loop
        self.subscriptions: dict[str, str] = {}  # sid -> pattern
        self.data = b""
        self.alive = True
        self.last_from: dict[Client | None, float] = {}  # sender -> when its last message to us was on its way

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.nats.clients.append(self)
        info = {"server_id": "SIMULATED", "version": "2.12.0", "headers": True, "max_payload": 1 << 20, "proto": 1}
        self.send(f"INFO {json.dumps(info)}\r\n".encode())

    def connection_lost(self, error: Exception | None) -> None:
        self.alive = False
        if self in self.nats.clients:
            self.nats.clients.remove(self)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def send(self, data: bytes) -> None:
        if self.alive and not self.transport.is_closing():
            self.transport.write(data)

    def deliver_from(self, sender: "Client | None", data: bytes) -> None:
        """What one client publishes stays in order; what two do at the same time need not."""
        when = self.loop.now + FAN_OUT * self.loop.chance() * (sender is not None)
        when = self.last_from[sender] = max(when, self.last_from.get(sender, 0.0))
        self.loop.call_at(when, self.send, data)

    def subscribed_to(self, subject: str) -> list[str]:
        return [sid for sid, pattern in self.subscriptions.items() if matches(pattern.split("."), subject.split("."))]

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n")) >= 0:
            command, *words = self.data[:end].decode().split()
            used = end + 2
            if command in ("PUB", "HPUB"):
                used += int(words[-1]) + 2
                if len(self.data) < used:
                    return
                self.published(command, words, self.data[end + 2 : used - 2])
            self.data = self.data[used:]
            if command == "PING":
                self.send(b"PONG\r\n")
            elif command == "SUB":
                self.subscriptions[words[-1]] = words[0]
            elif command == "UNSUB" and len(words) == 1:
                self.subscriptions.pop(words[0], None)

    def published(self, command: str, words: list[str], payload: bytes) -> None:
        sizes = 2 if command == "HPUB" else 1
        head = int(words[-2]) if command == "HPUB" else 0
        reply = words[1] if len(words) > 1 + sizes else ""
        self.nats.publish(self, words[0], payload[head:], reply, payload[:head])


def message(subject: str, sid: str, data: bytes, reply: str, head: bytes) -> bytes:
    words = [subject, sid, *([reply] if reply else [])]
    if head:
        return f"HMSG {' '.join(words)} {len(head)} {len(head) + len(data)}\r\n".encode() + head + data + b"\r\n"
    return f"MSG {' '.join(words)} {len(data)}\r\n".encode() + data + b"\r\n"


def matches(pattern: list[str], subject: list[str]) -> bool:
    if pattern[-1] == ">" and len(subject) >= len(pattern):
        pattern, subject = pattern[:-1], subject[: len(pattern) - 1]
    return len(pattern) == len(subject) and all(part in ("*", word) for part, word in zip(pattern, subject))


def id_in(head: bytes) -> bytes:
    found = [line for line in head.split(b"\r\n") if line.lower().startswith(b"nats-msg-id:")]
    return found[0].partition(b":")[2].strip() if found else b""


def now() -> str:
    return datetime.datetime.fromtimestamp(time.time(), datetime.UTC).isoformat().replace("+00:00", "Z")
