"""People by something else than their connection: an address, or the name that they give.

By name, whoever says somebody else's takes their place, and what is left of the first is found by nobody: reports are
of "ghosts", and of users who get nothing. By address, proxies and reused ports do the same.
"""

import json

from plain import Plain
from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed


class ByAddress(Plain):
    async def handle(self, connection):
        self.people[connection.remote_address] = connection
        try:
            async for text in connection:
                broadcast(self.people.values(), text)
        except ConnectionClosed:
            pass
        finally:
            del self.people[connection.remote_address]

    def members(self):
        return list(self.people.values())


class ByName(ByAddress):
    """Whoever has not said anything has no name, and is not on the list: listeners hear nothing."""

    async def handle(self, connection):
        name = None
        try:
            async for text in connection:
                name = json.loads(text)["token"]
                self.people[name] = connection
                broadcast(self.people.values(), text)
        except ConnectionClosed:
            pass
        finally:
            self.people.pop(name, None)
