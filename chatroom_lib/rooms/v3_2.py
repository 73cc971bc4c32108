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
        self.joining, self.leaving, self.saying = Channel(), Channel(), Channel()

    async def __aenter__(self):
        self.hub = asyncio.create_task(self.run_hub())
        return self

    async def __aexit__(self, *exc):
        self.hub.cancel()

    async def handle(self, connection):
        """One visit: join, then read and write until the client leaves."""
        client = Client(connection, asyncio.Queue(self.outbox_size))
        await self.joining.put(client)
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self.write(client))
            await self.read(client)
            writer.cancel()

    async def read(self, client: Client):
        clock = asyncio.get_running_loop().time
        pause = 1 / self.limit if self.limit else 0  # seconds
        free = clock()  # from when on this client may speak
        try:
            async for frame in client.connection:
                message, now = decode(frame), clock()
                if now < free:
                    self.refuse(client, message, free - now)
                else:
                    free = now + pause
                    await self.saying.put(message)
        except MessageError as error:
            await client.connection.close(1007, str(error))
        except ConnectionClosed:
            pass
        await self.leaving.put(client)

    def refuse(self, client: Client, message: Message, wait: float):
        self.refused += 1
        self.deliver(client, Message("chatroom", f"Not sent. Please wait {math.ceil(wait)} s.", message.content))

    async def write(self, client: Client):
        try:
            while True:
                message = await client.outbox.get()
                await client.connection.send(encode(message))
        except ConnectionClosed:
            self.failed_sends += 1
            await self.leaving.put(client)

    async def run_hub(self):
        while True:
            channel, value = await select(self.joining, self.leaving, self.saying)
            if channel is self.joining:
                self.clients.append(value)
            elif channel is self.saying:
                await self.broadcast(value)
            elif value in self.clients:  # reader and writer may both say that a client leaves
                self.clients.remove(value)

    async def broadcast(self, message: Message):
        for client in self.clients:
            self.deliver(client, message)

    def deliver(self, client: Client, message: Message):
        try:
            client.outbox.put_nowait(message)
        except asyncio.QueueFull:
            self.dropped += 1

    def members(self):
        return [client.connection for client in self.clients]
