"""The versions, in the order in which the story tells them. A new one is a new file here and a new line below."""

from typing import Protocol

from websockets.asyncio.server import ServerConnection

from chatroom_lib.rooms import v1, v1_1, v2, v2_rw, v3, v3_1, v3_2, v4, v5, v6, v7, v8, v9, v9_1


class Room(Protocol):
    """What a class must offer to be a room here. (No room inherits from this: it is a description.)"""

    async def __aenter__(self): ...  # start what runs beside the visits, a hub for example

    async def __aexit__(self, *exc): ...  # stop it, and wait until it has stopped

    async def handle(self, connection: ServerConnection) -> None: ...  # one visit; ends when the client leaves

    def members(self) -> list[ServerConnection]: ...  # whom a message would be sent to now

    # It may also have
    # - `server_options`, a dictionary of options for websockets.serve: {"ping_interval": 20, ...}
    # - `process_request(connection, request)`, as for websockets.serve: a response, for whom it does not let in
    # - `many_servers = True`, if several servers may keep one history
    # - `farewell()`, the code and the reason with which a server that stops closes the connections


VERSIONS: dict[str, type[Room]] = {
    "v1": v1.Room,
    "v1.1": v1_1.Room,
    "v2": v2.Room,
    "v2-rw": v2_rw.Room,
    "v3": v3.Room,
    "v3.1": v3_1.Room,
    "v3.2": v3_2.Room,
    "v4": v4.Room,
    "v5": v5.Room,
    "v6": v6.Room,
    "v7": v7.Room,
    "v8": v8.Room,
    "v9": v9.Room,
    "v9.1": v9_1.Room,
}
