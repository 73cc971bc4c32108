"""How long one stays, and what is kept for those who have gone.

Whoever is silent is put out, though well: that is an eviction by policy. A seat that is kept for a while, for those who
come back, is no leak.
"""

import asyncio

from plain import Plain


class PutsOutTheSilent(Plain):
    async def read(self, connection):
        try:
            while True:
                async with asyncio.timeout(60):
                    text = await connection.recv()
                self.pass_on(text)
        except TimeoutError:
            await connection.close(1000, "you have said nothing for a minute")


class KeepsSeats(Plain):
    """For five minutes, by a task."""

    def __init__(self):
        super().__init__()
        self.seats, self.expiring = {}, set()

    async def handle(self, connection):
        seat = connection.id
        self.seats[seat] = "taken"
        await super().handle(connection)
        self.seats[seat] = "kept"
        self.expire_later(seat)

    def expire_later(self, seat):
        task = asyncio.create_task(self.expire(seat))
        self.expiring.add(task)
        task.add_done_callback(self.expiring.discard)

    async def expire(self, seat):
        await asyncio.sleep(300)
        del self.seats[seat]

    async def __aexit__(self, *exc):
        for task in self.expiring:
            task.cancel()


class KeepsSeatsByATimer(KeepsSeats):
    def expire_later(self, seat):
        asyncio.get_running_loop().call_later(300, self.seats.pop, seat)


class KeepsSeatsForEver(KeepsSeats):
    """Whoever is to come back finds their seat: its task waits for them, and nobody ends it."""

    async def expire(self, seat):
        await asyncio.Event().wait()
