"""Rooms as other projects document them, rewritten for this library, to compare with its own; BoundedBroadcast, which
adds to one of them what it lacks; three ways to write a history that lose something; three ways to catch up with it
that leave something out or repeat it; and two for several servers, which tell each of them another story.

Each file contains one room and nothing else; what those with a history share is in history_room.py and
resuming_room.py. A room of your own looks the same, and its file may be anywhere:
`check(MyRoom)`, or `chatroom check path/to/my_room.py:MyRoom`.
"""

from chatroom_lib.reference_rooms.ack_at_once import AckAtOnce
from chatroom_lib.reference_rooms.bounded_broadcast import BoundedBroadcast
from chatroom_lib.reference_rooms.catch_up_to_all import CatchUpToAll
from chatroom_lib.reference_rooms.commit_behind import CommitBehind
from chatroom_lib.reference_rooms.fastapi_manager import FastAPIManager
from chatroom_lib.reference_rooms.gorilla_hub import GorillaHub
from chatroom_lib.reference_rooms.join_then_replay import JoinThenReplay
from chatroom_lib.reference_rooms.local_first import LocalFirst
from chatroom_lib.reference_rooms.relay_core import RelayCore
from chatroom_lib.reference_rooms.replay_then_join import ReplayThenJoin
from chatroom_lib.reference_rooms.sync_normal import SyncNormal
from chatroom_lib.reference_rooms.unbounded_queues import UnboundedQueues
from chatroom_lib.reference_rooms.websockets_broadcast import WebsocketsBroadcast

REFERENCE_ROOMS = {
    room.__name__: room
    for room in (
        *(FastAPIManager, WebsocketsBroadcast, UnboundedQueues, GorillaHub, BoundedBroadcast),
        *(AckAtOnce, CommitBehind, SyncNormal),
        *(ReplayThenJoin, JoinThenReplay, CatchUpToAll),
        *(LocalFirst, RelayCore),
    )
}
