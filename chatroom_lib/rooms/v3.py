"""v3: a hub.

What changed since v2
- One task, the hub, owns the list of clients. Nobody else touches it, so no lock is needed.
- Joins, leaves and messages reach the hub through channels, and it serves them one at a time.
- Each client has an outbox and a writer, the only task that sends to this client. The hub fills the outbox
  and goes on. So a join is instant again, as long as no outbox is full.

How it fails
- A client that reads slowly fills its outbox, and then the hub waits for it, and everyone waits for the hub.
- If that client dies, its writer tells the hub. But the hub waits for room in the outbox that this writer
  should empty: each waits for the other, for ever.
- Any other error in a writer cancels the reader, too, before it can tell the hub: the client stays in the list.
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
                await self.broadcast(value)
            elif value in self.clients:  # reader and writer may both say that a client leaves
                self.clients.remove(value)

    async def broadcast(self, message: Message):
        for client in self.clients:
            await client.outbox.put(message)

    def members(self):
        return [client.connection for client in self.clients]
