"""Somebody who says something every 20 ms, and notes how long it takes until she hears it herself.

In chapter 00 one witness runs on the event loop of the kernel, and another in a process of its own:
`python witness.py URL SECONDS` prints what `witness` returns, as JSON.
"""

import asyncio
import json
import sys
import time

from websockets.asyncio.client import connect

from chatroom_lib import Message, decode, encode

EVERY = 0.02  # seconds
PATIENCE = 5  # seconds to wait for the last messages


async def witness(url: str, name: str, seconds: float) -> list[tuple[float, float]]:
    """For each message: the monotonic clock when she said it, and the seconds until she heard it."""
    said, heard = [], []
    async with connect(url, compression=None, proxy=None) as connection:
        listening = asyncio.create_task(listen(connection, name, said, heard))
        start = time.monotonic()
        while (now := time.monotonic()) < start + seconds:
            said.append(now)
            await connection.send(encode(Message(name, str(len(said) - 1))))
            await asyncio.sleep(EVERY)
        async with asyncio.timeout(PATIENCE):
            while len(heard) < len(said):
                await asyncio.sleep(EVERY)
        listening.cancel()
    return heard


async def listen(connection, name: str, said: list[float], heard: list[tuple[float, float]]) -> None:
    async for frame in connection:
        message = decode(frame)
        if message.token == name:
            moment = said[int(message.content)]
            heard.append((moment, time.monotonic() - moment))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(witness(sys.argv[1], "witness", float(sys.argv[2])))))
