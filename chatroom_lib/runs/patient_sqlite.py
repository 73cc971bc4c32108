"""SQLite connections of a simulated room, which wait for a lock in virtual time.

SQLite itself would wait in real time, while the clock stands; so whoever holds the lock, in a transaction of several
calls, could never let go of it.
"""

import sqlite3
import time
from collections.abc import Callable

AGAIN = 0.005  # seconds from one attempt to the next; SQLite makes them longer and longer, up to 0.1


class PatientConnection(sqlite3.Connection):
    def __init__(self, database, timeout: float = 5.0, *arguments, **options):
        super().__init__(database, 0, *arguments, **options)
        self.patience = timeout  # seconds

    def cursor(self, factory=None):
        return super().cursor(factory or PatientCursor)

    def execute(self, *arguments):
        return self.cursor().execute(*arguments)

    def executemany(self, *arguments):
        return self.cursor().executemany(*arguments)

    def executescript(self, *arguments):
        return self.cursor().executescript(*arguments)

    def commit(self):
        return patiently(self, super().commit)


class PatientCursor(sqlite3.Cursor):
    def execute(self, *arguments):
        return patiently(self.connection, super().execute, *arguments)

    def executemany(self, *arguments):
        return patiently(self.connection, super().executemany, *arguments)

    def executescript(self, *arguments):
        return patiently(self.connection, super().executescript, *arguments)


def patiently(connection: PatientConnection, step: Callable, *arguments):
    latest = time.monotonic() + connection.patience
    while True:
        try:
            return step(*arguments)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= latest:
                raise
        time.sleep(AGAIN)
