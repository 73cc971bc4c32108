"""v1.1: remove clients that cannot be reached; nobody waits for a broadcast.

What changed since v1
- A connection that a send fails on is cut out of the list.
- Every broadcast is a task of its own, so the speaker's next message is read at once.

How it fails
- Several broadcasts run at once and share one list. When a client dies on whom they all wait, each of them
  wakes up and cuts out *its* index, where by then somebody else stands: healthy clients are evicted, and no
  exception names them. They are still connected and still heard, but they hear nothing any more.
- A cut in front of the place where a broadcast waits shifts the list under it. It then skips somebody, who misses
  that message.
- Broadcasts overtake each other: two people may hear the same two messages in different orders.
- Only a send that fails shows that somebody has gone. When everybody leaves, nobody is removed.
- As long as a client does not read, every message leaves one more task waiting, and its text in memory.
"""

import asyncio

from websockets.exceptions import ConnectionClosed

from chatroom_lib.message import Message, MessageError, decode, encode


class Room:
    def __init__(self):
        self.connections = []  # in the order of joining; shared: every visit and every broadcast changes it
        self.failed_sends = 0
        self.broadcasts = set()  # tasks; asyncio keeps only weak references

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        for task in self.broadcasts:
            task.cancel()
        await asyncio.gather(*self.broadcasts, return_exceptions=True)

    async def handle(self, connection):
        """One visit: join, then pass on what this client says until it leaves."""
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
        index = 0  # cut as Go cuts a slice; the article does it so
        while index < len(self.connections):
            connection = self.connections[index]
            try:
                await connection.send(frame)
                index += 1
            except ConnectionClosed:
                self.failed_sends += 1
                self.connections = self.connections[:index] + self.connections[index + 1 :]

    def members(self):
        return list(self.connections)
