"""A function and a global set, as in the documentation of `websockets`, with the least around it that makes a room."""

from websockets.asyncio.server import broadcast

ONLINE = set()


async def chat(connection):
    ONLINE.add(connection)
    try:
        async for text in connection:
            broadcast(ONLINE, text)
    finally:
        ONLINE.remove(connection)


class Wrapped:
    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        await chat(connection)

    def members(self):
        return ONLINE


def make_wrapped():
    return Wrapped()
