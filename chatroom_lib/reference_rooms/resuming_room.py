"""What ReplayThenJoin, JoinThenReplay and CatchUpToAll share: HistoryRoom with `?since=EPOCH:SEQ`.

As it stands here it does what v7 does: it sends what was missed, up to the last message that the others have, until
nothing is left; and joins with no `await` in between. The others change `resume`, each in a way that looks right.
"""

from chatroom_lib.message import Gap, Position, encode, encode_position, last_wanted, since_wanted
from chatroom_lib.reference_rooms.history_room import CHUNK, HistoryRoom


class ResumingRoom(HistoryRoom):
    async def catch_up(self, connection, messages: int):
        path = connection.request.path
        wanted = since_wanted(path)
        if wanted is None:
            return await super().catch_up(connection, messages)
        start = self.history.resume(wanted, self.last, last_wanted(path, self.last))
        await connection.send(encode_position(start))
        await self.resume(connection, start.seq)

    async def resume(self, connection, position: int):
        while position < (level := self.last):
            await self.replay(connection, position, level)
            position = level
        self.connections[connection] = None

    async def replay(self, connection, position: int, level: int):
        """Send what the history has after number `position`, up to `level`."""
        while position < level:
            some = await self.history.after(position, level, CHUNK)
            found = some[0].seq - 1 if some else level
            if found > position:
                gap = Gap(position + 1, found)
                await connection.send(encode_position(Position(self.history.epoch, found, gap)))
            for message in some:
                await connection.send(encode(message))
            position = some[-1].seq if some else level
