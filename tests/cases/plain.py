"""The room that most cases are a change of. It keeps everything but a limit on how much one may say."""

from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed

MOST = 256 * 1024  # bytes that may wait for one client


class Plain:
    def __init__(self):
        self.people = {}  # in the order of joining

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        self.people[connection] = None
        try:
            await self.read(connection)
        except ConnectionClosed:
            pass
        finally:
            self.people.pop(connection, None)

    async def read(self, connection):
        async for text in connection:
            await self.hear(connection, text)

    async def hear(self, connection, text):
        self.pass_on(text)

    def pass_on(self, text):
        for slow in [one for one in self.people if one.transport.get_write_buffer_size() > MOST]:
            del self.people[slow]
            slow.transport.abort()
        broadcast(self.people, text)

    def members(self):
        return list(self.people)
