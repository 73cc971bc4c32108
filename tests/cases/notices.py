"""Frames that are no messages of anybody: who comes and goes, how many there are, a welcome. They are welcome, and
nobody's loss may be put down to them."""

import json

from plain import Plain


class TellsWhoComes(Plain):
    async def handle(self, connection):
        await connection.send(json.dumps({"type": "welcome", "people": len(self.people)}))
        self.pass_on(json.dumps({"type": "came", "id": str(connection.id)}))
        try:
            await super().handle(connection)
        finally:
            self.pass_on(json.dumps({"type": "went", "id": str(connection.id)}))


class AndLosesSomething(TellsWhoComes):
    """Every fifth message is not passed on."""

    count = 0

    async def hear(self, connection, text):
        self.count += 1
        if self.count % 5:
            self.pass_on(text)
