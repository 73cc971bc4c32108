"""`websockets`, with `broadcast()` as in its documentation: the baseline of the benchmark."""

import asyncio

from websockets.asyncio.server import broadcast, serve

from chatroom_lib.bench.process import listen

connections = set()


async def visit(connection):
    connections.add(connection)
    try:
        async for message in connection:
            broadcast(connections, message)
    finally:
        connections.remove(connection)


async def main():
    async with serve(visit, sock=listen(), compression=None, ping_interval=None) as server:
        await server.serve_forever()


asyncio.run(main())
