"""Solutions to the exercises of chapter 02."""

import asyncio

from websockets.exceptions import ConnectionClosed

from chatroom_lib import MessageError, decode, encode, rooms


class Room1(rooms.resolve("v2")):
    """Let Eve in: she is appended without the lock. Nothing else runs meanwhile, and a broadcast in flight
    reaches her at the end of the list. Removals still need the lock, since they shift everybody behind them."""

    async def handle(self, connection):
        self.connections.append(connection)
        try:
            async for frame in connection:
                task = asyncio.create_task(self.broadcast(decode(frame)))
                self.broadcasts.add(task)
                task.add_done_callback(self.broadcasts.discard)
        except MessageError as error:
            await connection.close(1007, str(error))
        except ConnectionClosed:
            pass


class Room2(rooms.resolve("v2-rw")):
    """Repair the read-write lock: remember the dead, and remove them when this broadcast is no longer a reader."""

    async def broadcast(self, message):
        dead = []
        async with self.lock.read():
            for connection in self.connections:
                try:
                    await connection.send(encode(message))
                except ConnectionClosed:
                    dead.append(connection)
        async with self.lock.write():
            self.connections = [connection for connection in self.connections if connection not in dead]


class Patient(rooms.resolve("v2")):
    """The room of the text, with a patience that can be chosen."""

    patience = 1.0  # seconds

    async def broadcast(self, message):
        async with self.lock:
            for connection in list(self.connections):
                try:
                    async with asyncio.timeout(self.patience):
                        await connection.send(encode(message))
                except (ConnectionClosed, TimeoutError):
                    self.connections.remove(connection)
                    connection.transport.abort()


class Room3(Patient):
    """How long may a room wait? One answer of many. With 4 seconds instead, Bob would stay, and Cy would wait for him
    for up to 11 s, and for three programs that hang for 12 s: four friends who play chess may prefer that."""

    patience = 1.0
    bob_stays = False
    others_wait = 3.0
    because = "An office chat is for many, so nobody may hold it up; whoever is evicted can come back."
