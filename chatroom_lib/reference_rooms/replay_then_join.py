"""Replay, then join: send what the history has, and put the connection on the list.

What is said between the reading and the joining is in neither: not yet in what was read, and the connection not yet on
the list. Nobody tells the client; it has a hole. A chat server that loads "the last messages" from its database when
somebody connects, and then subscribes them, works like this.
"""

from chatroom_lib.reference_rooms.resuming_room import ResumingRoom


class ReplayThenJoin(ResumingRoom):
    async def resume(self, connection, position: int):
        await self.replay(connection, position, self.last)
        self.connections[connection] = None
