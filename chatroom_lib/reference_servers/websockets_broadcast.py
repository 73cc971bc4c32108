"""`websockets`: whatever anybody says goes to all by `broadcast()`.

After "Broadcast messages" in https://websockets.readthedocs.io/en/stable/intro/examples.html and
https://websockets.readthedocs.io/en/stable/topics/broadcast.html. Added: the port, and that people say what is sent.
"""

import asyncio
import sys

from websockets.asyncio.server import broadcast, serve

connected = set()


async def handler(websocket):
    connected.add(websocket)
    try:
        async for message in websocket:
            broadcast(connected, message)
    finally:
        connected.remove(websocket)


async def main():
    async with serve(handler, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()


asyncio.run(main())
