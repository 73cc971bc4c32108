"""Rooms with a heartbeat of their own.

A timeout around the answer helps only if the ping itself does not wait, and it does, where a buffer is full. A client
that is asked in the application's own words and does not know them is put out, though well.
"""

import asyncio
import json

from plain import Plain
from websockets.exceptions import ConnectionClosed


class Pings(Plain):
    async def handle(self, connection):
        pinging = asyncio.create_task(self.ping(connection))
        try:
            await super().handle(connection)
        finally:
            pinging.cancel()

    async def hear(self, connection, text):
        for one in list(self.people):
            try:
                await one.send(text)
            except ConnectionClosed:
                pass

    async def ping(self, connection):
        while True:
            await asyncio.sleep(20)
            try:
                async with asyncio.timeout(20):
                    await (await connection.ping())
            except Exception:
                connection.transport.abort()
                return


class PingsWithoutLimit(Pings):
    """The ping waits for space in a buffer that nobody empties, and the time for its answer never begins."""

    async def ping(self, connection):
        while True:
            await asyncio.sleep(20)
            try:
                answer = await connection.ping()
                async with asyncio.timeout(20):
                    await answer
            except Exception:
                connection.transport.abort()
                return


class AsksInItsOwnWords(Pings):
    def __init__(self):
        super().__init__()
        self.answered = set()

    async def hear(self, connection, text):
        if json.loads(text).get("type") == "pong":
            self.answered.add(connection)
        else:
            self.pass_on(text)

    async def ping(self, connection):
        while True:
            await connection.send(json.dumps({"type": "ping"}))
            await asyncio.sleep(20)
            if connection not in self.answered:
                await connection.close(1001, "no answer")
                return
            self.answered.discard(connection)
