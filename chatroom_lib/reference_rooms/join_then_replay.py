"""Join, then replay: put the connection on the list first, so that nothing is missed, and send what the history has.

What is said meanwhile comes before what is older, and once more at the end of the replay. A client can sort that out,
if it keeps what it hears until the replay is over; a room that leaves it to its clients has many that do not.
"""

from chatroom_lib.reference_rooms.resuming_room import ResumingRoom


class JoinThenReplay(ResumingRoom):
    async def resume(self, connection, position: int):
        self.connections[connection] = None
        await self.replay(connection, position, self.history.last)
