"""Solutions to the exercises of chapter 05."""

import asyncio

from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from chatroom_lib import Message, MessageError, decode, encode, rate_limits, rooms
from chatroom_lib.frames import frames

LONGEST = 1000  # characters


class Room1(rooms.resolve("v3.1")):
    """A writer gives the others a turn, takes everything that is in its outbox by then, and writes it all at once."""

    async def write(self, client):
        connection = client.connection
        while connection.state is State.OPEN:
            messages = [await client.outbox.get()]
            await asyncio.sleep(0)
            while not client.outbox.empty():
                messages.append(client.outbox.get_nowait())
            connection.transport.write(frames([encode(message).encode() for message in messages], connection))
            await connection.drain()
        self.failed_sends += 1
        await self.unregister.put(client)


class Room2(rooms.resolve("v4")):
    """A message that is too long is refused."""

    async def read(self, connection):
        clock = asyncio.get_running_loop().time
        limiter = rate_limits.TokenBucket(self.limit, self.burst) if self.limit else None
        try:
            async for frame in connection:
                message = decode(frame)
                if len(message.content) > LONGEST:
                    self.refused += 1
                    reply = Message("chatroom", f"Not sent: longer than {LONGEST} characters.", message.content)
                    self.deliver(connection, frames([encode(reply).encode()], connection))
                elif limiter and (wait := limiter.wait(clock())):
                    self.refuse(connection, message, wait)
                else:
                    self.broadcast(message)
        except MessageError as error:
            await connection.close(1007, str(error))
        except ConnectionClosed:
            pass


class Room3:
    """Gathering when busy costs a lone message nothing; 10 s at 20 kB a second are 200 kB, and 256 kB are the limit."""

    gathers = "when busy"
    buffer_kb = 220
    why = "Alone, nobody waits; together, few writes. A tunnel may fill 200 kB, and a program that hangs costs 220 kB."
