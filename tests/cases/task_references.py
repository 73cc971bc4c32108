"""A task that nobody refers to: the garbage collector may take it away in the middle of its work.

Reports say that "after a while some users get nothing any more, without any error". asyncio's documentation asks to
keep a reference; linters have a rule for it. Here the circle of writer and mailbox is held by nothing but itself.
"""

import asyncio
import weakref

from plain import Plain
from websockets.exceptions import ConnectionClosed


class Mailbox:
    def __init__(self, connection):
        self.connection, self.letters = connection, asyncio.Queue()

    async def deliver(self):
        try:
            while True:
                await self.connection.send(await self.letters.get())
        except ConnectionClosed:
            pass


class ForgetsItsWriters(Plain):
    def __init__(self):
        super().__init__()
        self.mailboxes = weakref.WeakSet()

    async def handle(self, connection):
        self.open_mailbox(connection)
        await super().handle(connection)

    def open_mailbox(self, connection):
        mailbox = Mailbox(connection)
        self.mailboxes.add(mailbox)
        return asyncio.create_task(mailbox.deliver())

    def pass_on(self, text):
        for mailbox in self.mailboxes:
            mailbox.letters.put_nowait(text)


class KeepsItsWriters(ForgetsItsWriters):
    async def handle(self, connection):
        writer = self.open_mailbox(connection)
        try:
            await Plain.handle(self, connection)
        finally:
            writer.cancel()
