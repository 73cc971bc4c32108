"""A server's connection with a bound on what its client leaves unread."""

from websockets.asyncio.server import ServerConnection

MAX_UNREAD = 4 * 1024 * 1024  # bytes, besides what the system's own buffers hold


class BoundedConnection(ServerConnection):
    """A connection that is cut off if its client talks while it leaves more than `MAX_UNREAD` bytes unread.

    `websockets` answers every ping, however full the buffer is. So a client that pings and never reads would fill the
    memory, in any room. (A client that neither reads nor talks is the room's own business.)
    """

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNREAD:
            self.transport.abort()  # close() would wait behind what is not read
