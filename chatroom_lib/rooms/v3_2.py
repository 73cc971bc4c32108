"""v3.2: a rate limit.

What changed since v3.1
- A client may say `limit` messages a second: the next one 1 / limit seconds after the last. What comes sooner
  is refused, and the client is told so, if its outbox has room.

How it fails
- People do not type by the clock. Two short lines within a second, and the second one is refused.
- The limit holds for a connection, not for a person: ten connections may say ten things a second.
- What the article leaves for later is missing here too: history, message ids, delivery for certain, heartbeats,
  authentication, encryption, more than one server.
"""

import asyncio
import math
from dataclasses import dataclass

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from chatroom_lib.channels import Channel, select
from chatroom_lib.message import Message, MessageError, decode, encode
from chatroom_lib.rate_limits import FixedInterval


@dataclass(eq=False)
class Client:
    connection: ServerConnection
    outbox: asyncio.Queue  # filled by the hub, emptied by the client's writer


class Room:
    def __init__(self, outbox_size: int = 128, limit: float | None = 1.0):
        self.outbox_size = outbox_size  # messages
        self.limit = limit  # messages a second that one client may say; None: as many as it likes
        self.clients = []  # owned by the hub, in the order of joining
        self.failed_sends = 0
        self.dropped = 0  # messages that a full outbox did not take
        self.refused = 0  # messages that came too soon after the last one
        self.register = Channel()  # clients that join
        self.unregister = Channel()  # clients that leave
        self.incoming = Channel()  # messages from clients

    async def __aenter__(self):
        self.hub = asyncio.create_task(self.run_hub())
        return self

    async def __aexit__(self, *exc):
        self.hub.cancel()
        await asyncio.wait([self.hub])

    async def handle(self, connection):
        """One visit: join, then read and write until the client leaves."""
        client = Client(connection, asyncio.Queue(self.outbox_size))
        await self.register.put(client)
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self.write(client))
            await self.read(client)
            writer.cancel()

    # the only task that reads from this connection
    async def read(self, client: Client):
        clock = asyncio.get_running_loop().time
        limiter = FixedInterval(self.limit) if self.limit else None
        try:
            async for frame in client.connection:
                message = decode(frame)
                if limiter and (wait := limiter.wait(clock())):
                    self.refuse(client, message, wait)
                else:
                    await self.incoming.put(message)
        except MessageError as error:
            await client.connection.close(1007, str(error))
        except ConnectionClosed:
            pass
        await self.unregister.put(client)

    def refuse(self, client: Client, message: Message, wait: float):
        self.refused += 1
        self.deliver(client, Message("chatroom", f"Not sent. Please wait {math.ceil(wait)} s.", message.content))

    # the only task that sends on this connection
    async def write(self, client: Client):
        try:
            while True:
                message = await client.outbox.get()
                await client.connection.send(encode(message))
        except ConnectionClosed:
            self.failed_sends += 1
            await self.unregister.put(client)

    # the only task that touches self.clients: no copy, and no lock
    async def run_hub(self):
        while True:
            channel, value = await select(self.register, self.unregister, self.incoming)
            if channel is self.register:
                self.clients.append(value)
            elif channel is self.incoming:
                self.broadcast(value)
            elif value in self.clients:  # reader and writer may both say that a client leaves
                self.clients.remove(value)

    def broadcast(self, message: Message):
        for client in self.clients:
            self.deliver(client, message)

    def deliver(self, client: Client, message: Message):
        try:
            client.outbox.put_nowait(message)
        except asyncio.QueueFull:
            self.dropped += 1

    def members(self):
        return [client.connection for client in self.clients]
