"""The script runs its server at its end, without a guard: an import of it never returns."""

import asyncio

from plain import Plain


class Room(Plain):
    pass


asyncio.run(asyncio.sleep(3600))
