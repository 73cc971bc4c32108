"""The room remembers each message's number for ever, lest it be passed on twice: a leak, if a small one."""

import hashlib

from plain import Plain


class RemembersDigests(Plain):
    def __init__(self):
        super().__init__()
        self.seen = {}

    async def hear(self, connection, text):
        digest = hashlib.sha256(text.encode()).hexdigest()
        if digest not in self.seen:
            self.seen[digest] = str(connection.id)
            self.pass_on(text)
