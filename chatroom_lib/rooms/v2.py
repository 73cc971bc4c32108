"""v2: one lock around the list.

What changed since v1.1
- Joins and broadcasts take a lock first, so nobody changes the list while somebody else walks through it.
  No healthy client is evicted any more, and all hear one order.
- `delay` seconds of a bad network are part of every broadcast. (The article slept for 2 s to show what follows.)

How it fails
- The lock is held while sending. Whoever wants to join waits until every broadcast that came earlier is over:
  the backlog, times the slowest reader in the room.
- A client that stops reading keeps the lock for as long as it likes. Nobody is heard, nobody gets in.
- Only a send that fails shows that somebody has gone. Whoever leaves when nobody talks any more stays in the list.
"""

import asyncio

from websockets.exceptions import ConnectionClosed

from chatroom_lib.message import Message, MessageError, decode, encode


class Room:
    def __init__(self, delay: float = 2.0):
        self.delay = delay  # seconds that each broadcast holds the lock after its last send
        self.connections = []  # in the order of joining
        self.failed_sends = 0
        self.lock = asyncio.Lock()  # held by whoever reads or changes the list
        self.broadcasts = set()  # tasks; asyncio keeps only weak references

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        for task in self.broadcasts:
            task.cancel()
        await asyncio.gather(*self.broadcasts, return_exceptions=True)

    async def handle(self, connection):
        """One visit: join, then pass on what this client says until it leaves."""
        async with self.lock:
            self.connections.append(connection)
        try:
            async for frame in connection:
                task = asyncio.create_task(self.broadcast(decode(frame)))
                self.broadcasts.add(task)
                task.add_done_callback(self.broadcasts.discard)
        except MessageError as error:
            await connection.close(1007, str(error))
        except ConnectionClosed:
            pass

    async def broadcast(self, message: Message):
        frame = encode(message)
        async with self.lock:
            index = 0
            while index < len(self.connections):
                connection = self.connections[index]
                try:
                    await connection.send(frame)
                    index += 1
                except ConnectionClosed:
                    self.failed_sends += 1
                    self.connections = self.connections[:index] + self.connections[index + 1 :]
            await asyncio.sleep(self.delay)

    def members(self):
        return list(self.connections)
