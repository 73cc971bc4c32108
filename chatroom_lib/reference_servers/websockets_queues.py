"""`websockets`: a queue for each client, and a task that sends what is in it.

After https://websockets.readthedocs.io/en/stable/topics/broadcast.html#per-client-queues, where a comment says that
one's own logic for slow clients would go into the task. Added: the port, and that people say what is sent.
"""

import asyncio
import sys

from websockets.asyncio.server import serve

queues = set()


async def relay(queue, websocket):
    while True:
        await websocket.send(await queue.get())


async def handler(websocket):
    queue = asyncio.Queue()
    task = asyncio.create_task(relay(queue, websocket))
    queues.add(queue)
    try:
        async for message in websocket:
            for each in queues:
                each.put_nowait(message)
    finally:
        queues.remove(queue)
        task.cancel()


async def main():
    async with serve(handler, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()


asyncio.run(main())
