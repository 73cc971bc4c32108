"""To all but the speaker, whose page shows the line by itself. It is the commonest chat there is, and breaks one
promise: the speaker does not know whether, and in what order, the others hear it."""

import json

from plain import Plain
from websockets.asyncio.server import broadcast


class ToTheOthers(Plain):
    async def hear(self, connection, text):
        for slow in [one for one in self.people if one.transport.get_write_buffer_size() > 200_000]:
            slow.transport.abort()
        broadcast([one for one in self.people if one is not connection], text)


class WithAReceipt(ToTheOthers):
    async def hear(self, connection, text):
        await super().hear(connection, text)
        await connection.send(json.dumps({"type": "received"}))
