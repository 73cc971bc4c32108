"""`websockets`: one `send()` after another, which its documentation calls the naive way, and advises against.

After https://websockets.readthedocs.io/en/stable/topics/broadcast.html#the-naive-way, where one task sends all there is
to send. Added: the port, and that people say what is sent; who speaks waits until that task takes it.
"""

import asyncio
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

connected = set()
said = asyncio.Queue(1)


async def send_to_all(message):
    for websocket in connected.copy():
        try:
            await websocket.send(message)
        except ConnectionClosed:
            pass


async def handler(websocket):
    connected.add(websocket)
    try:
        async for message in websocket:
            await said.put(message)
    finally:
        connected.remove(websocket)


async def main():
    async with serve(handler, "127.0.0.1", int(sys.argv[1])):
        while True:
            await send_to_all(await said.get())


asyncio.run(main())
