"""A real server with a history, really killed, again and again: nothing that it has acknowledged is lost, and whoever
comes back hears what was said meanwhile, once.

.venv/bin/python -m tests.test_crash 200     # kills; the test makes 10
"""

import asyncio
import json
import random
import re
import resource
import signal
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from statistics import median

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.helpers import AT_MOST, in_a_loop, joining

SPEAKERS = 5
LONGEST_THOUGHT = 0.02  # seconds from hearing to the next words: 200 kills stay within what the history keeps
PERIOD = 0.5, 1.0  # seconds from the moment at which all hear to the next kill


class Served:
    """`chatroom serve v7`, at the same port each time."""

    def __init__(self, path: Path, largest_file: int = resource.RLIM_INFINITY):
        self.path, self.port = path, 0
        self.limit = largest_file, resource.RLIM_INFINITY  # bytes

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chatroom_lib", "serve", "v7", "--unlimited"),
            *("--port", str(self.port), "--data", str(self.path)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, self.limit),
        )
        line = (await self.process.stdout.readline()).decode()
        self.url = re.search(r"ws://\S+", line)[0]
        self.port = int(re.search(r":(\d+)/", self.url)[1])

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


class Person:
    """Says one message after the other, and each again until it hears it; notes all that it hears, and says on each new
    connection what that was last."""

    def __init__(self, name: str, served: Served):
        self.name, self.served, self.number = name, served, 0
        self.acknowledged: dict[int, str] = {}  # number -> text
        self.heard: list[list[tuple[int, str]]] = []  # connection -> (number, text), in its order
        self.hears = asyncio.Event()
        self.epoch, self.last = "", 0  # of which history, and up to which number it has heard
        self.missed = 0  # numbers that it has neither heard nor been told to be gone
        self.repeated = 0  # of others, that it heard twice
        self.waits: list[float] = []  # seconds from the last message before a kill to the next one

    async def live(self) -> None:
        clock = asyncio.get_running_loop().time
        ended = clock()
        while True:
            with suppress(OSError, ConnectionClosed, InvalidHandshake):
                since = f"{self.epoch}:{self.last or ''}"
                async with joining(f"{self.served.url}?since={since}") as connection:
                    self.heard.append([])
                    await connection.send(self.next())
                    async for frame in connection:
                        now, first = clock(), not self.heard[-1]
                        await self.take(json.loads(frame), connection)
                        if first and self.heard[-1]:
                            self.waits.append(now - ended)
                        ended = clock() if self.heard[-1] else ended
            await asyncio.sleep(random.uniform(0, 0.05))

    def next(self) -> str:
        text = f"{self.name} {self.number}"
        return json.dumps({"token": self.name, "content": text, "id": text})

    async def take(self, message: dict, connection) -> None:
        if "since" in message:
            self.take_position(message["epoch"], message["since"], message["gap"])
            return
        self.heard[-1].append((message["seq"], message["content"]))
        self.take_number(message["seq"], message["token"] == self.name)
        if message["id"] == f"{self.name} {self.number}":
            self.acknowledged[message["seq"]] = message["content"]
            self.number += 1
            self.hears.set()
            await asyncio.sleep(random.uniform(0, LONGEST_THOUGHT))
            await connection.send(self.next())

    def take_position(self, epoch: str, since: int, gap: dict | None) -> None:
        if epoch == self.epoch:
            told = gap["to"] - gap["from"] + 1 if gap else 0
            self.missed += abs(since - self.last - told)
        self.epoch, self.last = epoch, since

    def take_number(self, number: int, own: bool) -> None:
        if number > self.last:
            self.missed += number - self.last - 1
            self.last = number
        elif not own:
            self.repeated += 1


async def crash(path: Path, kills: int) -> tuple[list[Person], list[tuple[int, str]]]:
    """The people, and the history as a newcomer finds it at the end."""
    served = Served(path)
    await served.start()
    people = [Person(f"P{number}", served) for number in range(SPEAKERS)]
    living = [asyncio.create_task(person.live()) for person in people]
    try:
        for _ in range(kills):
            for person in people:
                person.hears.clear()
                async with asyncio.timeout(AT_MOST):
                    await person.hears.wait()
            await asyncio.sleep(random.uniform(*PERIOD))
            await served.kill()
            await served.start()
    finally:
        for task in living:
            task.cancel()
        await asyncio.gather(*living, return_exceptions=True)
    try:
        return people, await whole_history(served)
    finally:
        await served.kill()


async def whole_history(served: Served) -> list[tuple[int, str]]:
    """(number, text) of all messages, page by page."""
    async with joining(served.url) as reader:

        async def page(before: int, limit: int) -> list[tuple[int, str]]:
            await reader.send(json.dumps({"before": before, "limit": limit}))
            async with asyncio.timeout(AT_MOST):
                messages = [json.loads(await reader.recv()) for _ in range(limit)]
            return [(message["seq"], message["content"]) for message in messages]

        kept = await page(1 << 62, 1)
        while (first := kept[0][0]) > 1:
            kept = await page(first, min(100, first - 1)) + kept
        return kept


def report(people: list[Person], kept: list[tuple[int, str]]) -> dict[str, int]:
    by_number = dict(kept)
    heard = {said for person in people for connection in person.heard for said in connection}
    acknowledged = [said for person in people for said in person.acknowledged.items()]
    return {
        "acknowledged": len(acknowledged),
        "acknowledged and lost": sum(by_number.get(number) != text for number, text in acknowledged),
        "heard and lost": sum(by_number.get(number) != text for number, text in heard),
        "said twice": sum(times - 1 for times in Counter(text for _, text in kept).values()),
        "missed and not told": sum(person.missed for person in people),
        "heard twice": sum(person.repeated for person in people),
        "holes": kept[-1][0] - len(kept),
        "heard out of order": sum(
            is_out_of_order(connection, person) for person in people for connection in person.heard
        ),
    }


def is_out_of_order(connection: list[tuple[int, str]], person: Person) -> bool:
    """Apart from what the person has said itself, which it may hear again."""
    of_others = [number for number, text in connection if not text.startswith(f"{person.name} ")]
    return of_others != sorted(set(of_others))


@pytest.mark.slow
@in_a_loop
async def test_ten_kills_lose_nothing_that_was_heard_and_whoever_comes_back_hears_all_once(tmp_path):
    people, kept = await crash(tmp_path / "chat.db", kills=10)
    assert all(len(person.heard) > 5 and person.epoch for person in people)
    result = report(people, kept)
    assert result.pop("acknowledged") > 100 and not any(result.values()), result


@in_a_loop
async def test_a_disk_that_fails_in_the_middle_of_a_commit_loses_nothing_that_was_heard(tmp_path):
    """No file may grow beyond 300 kB: the system refuses to write, as it does when a quota is used up."""
    served = Served(tmp_path / "chat.db", largest_file=300_000)
    await served.start()
    heard, refused = [], []
    async with joining(served.url) as ann:
        for number in range(60):
            await ann.send(json.dumps({"token": "Ann", "content": f"{number} ".ljust(10_000, "."), "id": str(number)}))
            async with asyncio.timeout(AT_MOST):
                answer = json.loads(await ann.recv())
            (refused if "refused" in answer else heard).append(answer)
    await served.kill()
    lines = (await served.process.stderr.read()).decode().splitlines()
    assert (
        len(heard) > 10 and len(refused) > 10 and [message["seq"] for message in heard] == [*range(1, len(heard) + 1)]
    )
    assert all(answer["content"] == "Not sent. The room cannot write it down." for answer in refused)
    (line,) = lines
    assert "chat.db: " in line and line.endswith("; what people say is refused")
    whole = Served(tmp_path / "chat.db")
    await whole.start()
    kept = await whole_history(whole)
    await whole.kill()
    assert kept == [(message["seq"], message["content"]) for message in heard]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(crash(Path(folder, "chat.db"), int(sys.argv[1])))
    print(report(*found))
    waits = sorted(wait for person in found[0] for wait in person.waits[1:])
    print(f"without a message for {median(waits):.2f} s, {waits[-1]:.2f} s at most, of {len(waits)} times")
