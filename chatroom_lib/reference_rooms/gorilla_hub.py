"""The policy of gorilla/websocket's chat example: a client with 256 messages waiting for it is evicted.

A hub owns the clients, as in v3. It never waits for an outbox and never drops a message: a client whose outbox is full
is removed and disconnected, and may join again.
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
    outbox: asyncio.Queue


class GorillaHub:
    def __init__(self, outbox_size: int = 256):
        self.outbox_size = outbox_size  # messages
        self.clients = []  # owned by the hub
        self.evicted = 0
        self.register, self.unregister, self.incoming = Channel(), Channel(), Channel()

    async def __aenter__(self):
        self.hub = asyncio.create_task(self.run_hub())
        return self

    async def __aexit__(self, *exc):
        self.hub.cancel()
        await asyncio.wait([self.hub])

    async def handle(self, connection):
        client = Client(connection, asyncio.Queue(self.outbox_size))
        await self.register.put(client)
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self.write(client))
            await self.read(client)
            writer.cancel()

    async def read(self, client: Client):
        try:
            async for frame in client.connection:
                await self.incoming.put(decode(frame))
        except MessageError as error:
            await client.connection.close(1007, str(error))
        except ConnectionClosed:
            pass
        await self.unregister.put(client)

    async def write(self, client: Client):
        try:
            while True:
                await client.connection.send(encode(await client.outbox.get()))
        except ConnectionClosed:
            pass  # the reader notices, too

    async def run_hub(self):
        while True:
            channel, value = await select(self.register, self.unregister, self.incoming)
            if channel is self.register:
                self.clients.append(value)
            elif channel is self.incoming:
                self.broadcast(value)
            elif value in self.clients:
                self.clients.remove(value)

    def broadcast(self, message: Message):
        for client in list(self.clients):
            try:
                client.outbox.put_nowait(message)
            except asyncio.QueueFull:
                self.clients.remove(client)
                self.evicted += 1
                client.connection.transport.abort()  # close() would wait for the client to read

    def members(self):
        return [client.connection for client in self.clients]
