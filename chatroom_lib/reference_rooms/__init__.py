"""Rooms that are not ours: what the documents of other projects describe, written anew as rooms for the gauntlet.

Each file holds one room and nothing else. A room of your own looks like this, too, and may stand anywhere:
`check(MyRoom)`, or `chatroom check path/to/my_room.py:MyRoom`.
"""

from chatroom_lib.reference_rooms.fastapi_manager import FastAPIManager
from chatroom_lib.reference_rooms.gorilla_hub import GorillaHub
from chatroom_lib.reference_rooms.unbounded_queues import UnboundedQueues
from chatroom_lib.reference_rooms.websockets_broadcast import WebsocketsBroadcast

REFERENCE_ROOMS = {room.__name__: room for room in (FastAPIManager, WebsocketsBroadcast, UnboundedQueues, GorillaHub)}
