"""Solutions to the exercises of chapter 07."""

from exercises.chapter_07 import AddressBook, ResumingRoom

from chatroom_lib.message import Gap, Position, encode, encode_position


class Room1(AddressBook):
    """Whatever takes time comes before the last look at the level: between that and the list nothing may wait."""

    async def resume(self, connection, position):
        await self.look_up(connection)
        while position < (level := self.last):
            await self.replay(connection, position, level)
            position = level
        self.connections[connection] = None


class Room2(ResumingRoom):
    """The first message that the history gives must be the next one. If it is not, what is between is gone, and it may
    have gone while the reading was under way."""

    async def replay(self, connection, position, level):
        while position < level:
            some = await self.history.after(position, level, 16)
            found = some[0].seq - 1 if some else level
            if found > position:
                gap = Position(self.history.epoch, found, Gap(position + 1, found))
                await connection.send(encode_position(gap))
            for message in some:
                await connection.send(encode(message))
            position = some[-1].seq if some else level


class Room3:
    """An old price is worth nothing, an old alarm as much as a new one; and in between a person reads back by pages."""

    prices = "last=1"
    office = "last=20"
    alarms = "since"
    why = "A price replaces the one before; an alarm that nobody has heard is still an alarm."
