"""An unbounded queue for each client, and a task that empties it: the obvious way to block nobody and lose nothing."""

import asyncio

from websockets.exceptions import ConnectionClosed

from chatroom_lib.message import MessageError, decode, encode


class UnboundedQueues:
    def __init__(self):
        self.queues = {}  # connection -> frames that wait to be sent on it

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        self.queues[connection] = asyncio.Queue()
        writer = asyncio.create_task(self.write(connection))
        try:
            async for frame in connection:
                message = encode(decode(frame))
                for queue in self.queues.values():
                    queue.put_nowait(message)
        except MessageError as error:
            await connection.close(1007, str(error))
        except ConnectionClosed:
            pass
        finally:
            del self.queues[connection]
            writer.cancel()

    async def write(self, connection):
        queue = self.queues[connection]
        try:
            while True:
                await connection.send(await queue.get())
        except ConnectionClosed:
            pass  # the reader notices, too

    def members(self):
        return list(self.queues)
