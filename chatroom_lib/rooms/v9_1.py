"""v9.1: servers on several machines.

What changed since v9
- The history is a stream of NATS JetStream, which servers on other machines reach, too. It is the same room: it writes
  down what is said, and sends on what it hears of the history.
- A server that the stream does not answer refuses what is said, with a reason, and goes on serving what it has. What it
  has published without an answer, it publishes again under the same id, until it has one.

How it fails
- The NATS server is one, too. (A cluster of three keeps streams in three places; nothing changes here.)
- Each server sends everything to all its own people: more servers carry more people, but not more messages.
- Anybody can say anything in anybody's name. What else the article leaves for later is missing here, too.
"""

from chatroom_lib.history import KEEP
from chatroom_lib.jetstream_history import URL, JetStreamHistory
from chatroom_lib.rooms import v9


class Room(v9.Room):
    def __init__(
        self,
        nats: str = URL,
        buffer_size: int = 64 * 1024,
        limit: float | None = 1.0,
        burst: int = 5,
        keep: int = KEEP,
        max_age: float | None = None,
        deadline: float = 30.0,
        returns: float = 500.0,
        stream: str = "chatroom",
    ):
        super().__init__(None, buffer_size, limit, burst, keep, max_age, deadline, returns)
        self.history = JetStreamHistory(nats, stream, keep, max_age, recent=v9.RECENT)

    async def follow(self):
        while True:
            await super().follow()
            self.last = (
                self.history.first - 1
            )  # of another stream: the old one is lost, and those who come back learn it
            for reader in self.readers.values():
                reader.connection.transport.abort()
