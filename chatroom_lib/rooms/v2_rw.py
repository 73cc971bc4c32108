"""v2-rw: a read-write lock around the list.

What changed since v2
- A broadcast only reads the list, so it takes the lock for reading, and many broadcasts run at once.
- Only a join, and the removal of a dead connection, take the lock for writing.

How it fails
- Two broadcasts send to the same connection at the same time again, and again orders differ.
- The removal asks for the write lock while its own broadcast still holds the read lock. It waits until all
  readers are gone, and is itself one of them: with the first dead client the room falls silent for good.
  (This is how the article's code does it; its text describes v2.)
"""

import asyncio

from websockets.exceptions import ConnectionClosed

from chatroom_lib.channels import RWLock
from chatroom_lib.message import Message, MessageError, decode, encode


class Room:
    def __init__(self, delay: float = 2.0):
        self.delay = delay  # seconds that each broadcast holds the lock after its last send
        self.connections = []  # in the order of joining
        self.failed_sends = 0
        self.lock = RWLock()  # read by broadcasts, written by whoever changes the list
        self.broadcasts = set()  # tasks; asyncio keeps only weak references

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        for task in self.broadcasts:
            task.cancel()
        await asyncio.gather(*self.broadcasts, return_exceptions=True)

    async def handle(self, connection):
        """One visit: join, then pass on what this client says until it leaves."""
        async with self.lock.write():
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
        async with self.lock.read():
            index = 0
            while index < len(self.connections):
                connection = self.connections[index]
                try:
                    await connection.send(frame)
                    index += 1
                except ConnectionClosed:
                    self.failed_sends += 1
                    async with self.lock.write():
                        self.connections = self.connections[:index] + self.connections[index + 1 :]
            await asyncio.sleep(self.delay)

    def members(self):
        return list(self.connections)
