"""`websockets`, with the simplest loop: one send after another."""

import asyncio

from websockets.asyncio.server import serve

from chatroom_lib.bench.process import listen

connections = {}


async def visit(connection):
    connections[connection] = None
    try:
        async for message in connection:
            for other in list(connections):
                await other.send(message)
    finally:
        del connections[connection]


async def main():
    async with serve(visit, sock=listen(), compression=None, ping_interval=None) as server:
        await server.serve_forever()


asyncio.run(main())
