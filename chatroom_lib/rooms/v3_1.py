"""v3.1: drop what a full outbox cannot take.

What changed since v3
- The hub never waits for a client. If an outbox is full, the message is dropped for this client, and counted.

How it fails
- A client that reads slowly misses messages and is not told. A longer outbox only makes it miss them later:
  a queue buys delay, not throughput.
- Nothing stops a client from saying a thousand things a second, and everyone has to hear them.
"""

import asyncio
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
    def __init__(self, outbox_size: int = 128):
        self.outbox_size = outbox_size  # messages
        self.clients = []  # owned by the hub, in the order of joining
        self.failed_sends = 0
        self.dropped = 0  # messages that a full outbox did not take
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
        try:
            async for frame in client.connection:
                await self.incoming.put(decode(frame))
        except MessageError as error:
            await client.connection.close(1007, str(error))
        except ConnectionClosed:
            pass
        await self.unregister.put(client)

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
            try:
                client.outbox.put_nowait(message)
            except asyncio.QueueFull:
                self.dropped += 1

    def members(self):
        return [client.connection for client in self.clients]
