"""`broadcast()` of the `websockets` library (its documentation: "Broadcasting messages").

One call writes the message to all connections and waits for none of them. What a client does not read stays in its
connection's buffer, and the library relies on its keepalive to close such a connection in time. That works for a client
that has gone silent while its buffer was not full; in a full one, the ping waits behind the messages.
"""

from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed

from chatroom_lib.message import MessageError, decode, encode


class WebsocketsBroadcast:
    server_options = {"ping_interval": 20, "ping_timeout": 20}  # what the library does if nothing is said

    def __init__(self):
        self.connections = {}  # connection -> None: a set in the order of joining

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def handle(self, connection):
        self.connections[connection] = None
        try:
            async for frame in connection:
                broadcast(self.connections, encode(decode(frame)))
        except MessageError as error:
            await connection.close(1007, str(error))
        except ConnectionClosed:
            pass
        finally:
            del self.connections[connection]

    def members(self):
        return list(self.connections)
