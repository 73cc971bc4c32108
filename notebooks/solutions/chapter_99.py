"""Solutions to the cases of chapter 99. Each is one of several rooms that pass."""

from chatroom_lib import rooms
from chatroom_lib.reference_rooms import BoundedBroadcast


class Room1(rooms.resolve("v3.1")):
    """The ticker: an old price is worth nothing, so drop it, and keep the outbox short: what waits in it is old."""

    because = {"Ann": "prompt", "Bob": "gaps"}

    def __init__(self):
        super().__init__(outbox_size=4)


class Room2(BoundedBroadcast):
    """The office: nobody may miss a line without knowing, so let the slow wait, and pay for that in memory."""

    because = {"Di": "late", "Pat": "prompt"}

    def __init__(self):
        super().__init__(buffer_size=1024 * 1024)


class Room3(BoundedBroadcast):
    """The lobby: refuse the flood, not the person who types, and let the clean-up be one line."""

    because = {"Flo": "refused", "Pat": "prompt"}
