"""A client that says something every 20 ms, and records how long it takes until it hears it itself.

In appendix A one probe runs on the event loop of the kernel, and another in a process of its own:
`python latency_probe.py URL SECONDS` prints what `probe` returns, as JSON.
"""

import asyncio
import json
import sys
import time

from websockets.asyncio.client import connect

from chatroom_lib import Message, decode, encode

INTERVAL = 0.02  # seconds between two messages
TIME_FOR_THE_LAST = 5  # seconds to wait for the last messages


async def probe(url: str, name: str, seconds: float) -> list[tuple[float, float]]:
    """For each message: when it was sent, on the monotonic clock, and the seconds until it was heard."""
    said, heard = [], []
    async with connect(url, compression=None, proxy=None) as connection:
        listening = asyncio.create_task(listen(connection, name, said, heard))
        start = time.monotonic()
        while (now := time.monotonic()) < start + seconds:
            said.append(now)
            await connection.send(encode(Message(name, str(len(said) - 1))))
            await asyncio.sleep(INTERVAL)
        async with asyncio.timeout(TIME_FOR_THE_LAST):
            while len(heard) < len(said):
                await asyncio.sleep(INTERVAL)
        listening.cancel()
    return heard


async def listen(connection, name: str, said: list[float], heard: list[tuple[float, float]]) -> None:
    async for frame in connection:
        message = decode(frame)
        if message.token == name:
            sent_at = said[int(message.content)]
            heard.append((sent_at, time.monotonic() - sent_at))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(probe(sys.argv[1], "probe", float(sys.argv[2])))))
