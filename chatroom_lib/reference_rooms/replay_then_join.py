"""Replay, then join: send what the history has, and put the connection on the list.

What is written down between the reading and the joining is in neither: not in what was read, and sent to a list that
the connection is not yet on. Nobody tells the client; it has a hole. A chat server that loads "the last messages" from
its database when somebody connects, and then subscribes them, works like this.
"""

from chatroom_lib.history import LARGEST
from chatroom_lib.message import encode
from chatroom_lib.reference_rooms.resuming_room import ResumingRoom


class ReplayThenJoin(ResumingRoom):
    async def resume(self, connection, position: int):
        for message in await self.history.after(position, LARGEST, 1000):
            await connection.send(encode(message))
        self.connections[connection] = None
