"""Helper functions of the module keep its books, and never forget: what a room becomes that began as a function."""

from plain import Plain

SESSIONS = {}
LOG = []


def remember(connection):
    SESSIONS[id(connection)] = connection


def write_down(text):
    LOG.append(text)


class HelpersRemember(Plain):
    async def handle(self, connection):
        remember(connection)
        await super().handle(connection)

    async def hear(self, connection, text):
        write_down(text)
        self.pass_on(text)


class MethodsRemember(Plain):
    async def handle(self, connection):
        SESSIONS[id(connection)] = connection
        await super().handle(connection)

    async def hear(self, connection, text):
        LOG.append(text)
        self.pass_on(text)
