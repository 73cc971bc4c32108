"""SQLite's `PRAGMA synchronous = NORMAL`: a commit returns before the medium has it.

With a write-ahead log many recommend it, since it is many times as fast. When the server is killed nothing is lost: the
operating system still has what was written. When the power is cut, all is lost that came after the last checkpoint,
whoever has heard it.
"""

from chatroom_lib.reference_rooms.history_room import HistoryRoom


class SyncNormal(HistoryRoom):
    synchronous = "NORMAL"
