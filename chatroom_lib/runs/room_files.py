"""The files of a room in a run: a folder of its own, which is left after a kill as a real one would be.

In the simulation the killed process is still here, with its files open. So after a kill the new one gets a copy of them
as they are: what was not written, or not committed, is not in there. When the power is cut, what had not reached the
medium is gone too: from plain files what was written after the last `os.fsync`, and from an SQLite database what its
documentation allows for its `PRAGMA synchronous` (https://www.sqlite.org/pragma.html#pragma_synchronous). With FULL
that is nothing, with NORMAL and a write-ahead log all that the log has, and with OFF everything.

If others share the files with the killed, they stay where they are, and the system closes the databases that it had
open: a transaction that it has not committed is undone.
"""

import contextlib
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chatroom_lib.clients.scenario import Kill
from chatroom_lib.instrumentation.tasks import Tasks, watcher
from chatroom_lib.runs.patient_sqlite import PatientConnection
from chatroom_lib.runs.virtual_time import here
from chatroom_lib.runtime import platform

IN_MEMORY = "/dev/shm"  # where Linux has files that take no time
SYNCHRONOUS = re.compile(r"\bpragma\s+(?:\w+\.)?synchronous\s*[=(]\s*'?(\w+)", re.IGNORECASE)
LEVELS = {"0": "OFF", "1": "NORMAL", "2": "FULL", "3": "EXTRA"}
LOG = "-wal"  # what SQLite adds to the name of a database for its write-ahead log


class RoomFiles:
    """The folder; `path` is that of the file which a room is offered. A context manager: at its end all is removed."""

    def __init__(self, simulated: bool = False):
        where = IN_MEMORY if simulated and os.access(IN_MEMORY, os.W_OK) else None
        self.all = tempfile.TemporaryDirectory(prefix="chatroom-run-", dir=where, ignore_cleanup_errors=True)
        self.folder = Path(self.all.name, "room")
        self.folder.mkdir()
        self.path = str(self.folder / "chat.db")
        self.deaths = 0
        self.opened: list[tuple] = []  # (process, executor on whose thread, database)
        self.levels: dict[str, str] = {}  # database -> its level of `synchronous`
        self.synced: dict[tuple[int, int], int] = {}  # (device, inode) of a file -> bytes that are on the medium

    def __enter__(self) -> "RoomFiles":
        return self

    def __exit__(self, *exc) -> None:
        self.opened.clear()
        self.all.cleanup()

    # ------------------------------------------------------------ what is replaced in a simulated run

    def connect(self, real: Callable, database, *arguments, **options) -> sqlite3.Connection:
        """What `sqlite3.connect` does there."""
        if len(arguments) < 5:  # or one of these is a factory of the room's own
            options.setdefault("factory", PatientConnection)
        connection = real(database, *arguments, **options)
        name, levels = os.path.abspath(os.fspath(database)), self.levels

        def note(statement: str) -> None:
            if level := SYNCHRONOUS.search(statement):
                levels[name] = LEVELS.get(level[1], level[1].upper())

        if name.startswith(str(self.folder)):
            connection.set_trace_callback(note)
            if loop := here():
                process, executor = loop.calling_for
                self.opened.append((process or watcher.get(), executor, connection))
        return connection

    def close_those_of(self, process: Tasks) -> None:
        """What the system does with the databases of a process that was killed."""
        for executor, connection in [(each[1], each[2]) for each in self.opened if each[0] is process]:
            with contextlib.suppress(sqlite3.Error, RuntimeError):  # it may have closed all that itself
                if executor and platform.HAS_THREADS:  # a connection may be of use on its own thread only
                    ThreadPoolExecutor.submit(executor, connection.close).exception(timeout=1)
                else:
                    connection.close()
        self.opened = [each for each in self.opened if each[0] is not process]

    def fsync(self, real: Callable, file) -> None:
        """What `os.fsync` does there."""
        real(file)
        status = os.fstat(file if isinstance(file, int) else file.fileno())
        self.synced[status.st_dev, status.st_ino] = status.st_size

    # ------------------------------------------------------------ the end of a process

    def survive(self, kill: Kill) -> None:
        """The process is killed: let the next one find what is left."""
        old = self.lose()
        if not kill.disk:
            shutil.copytree(old, self.folder, dirs_exist_ok=True)
        if kill.power and not kill.disk:
            for file in [file for file in old.rglob("*") if file.is_file()]:
                self.cut(file, self.folder / file.relative_to(old))

    def lose(self) -> Path:
        """Nothing is left. Returns where the files are now."""
        self.deaths += 1
        old = self.folder.rename(Path(self.all.name, f"dead-{self.deaths}"))
        self.folder.mkdir()
        return old

    def cut(self, old: Path, new: Path) -> None:
        """Take from the file `new`, a copy of `old`, what had not reached the medium."""
        if is_database(Path(str(old).removesuffix(LOG))):
            level = self.levels.get(str(new).removesuffix(LOG), "FULL")
            if level == "OFF" or (level == "NORMAL" and new.name.endswith(LOG)):
                new.unlink()
        else:
            status = old.stat()
            os.truncate(new, self.synced.get((status.st_dev, status.st_ino), 0))


def is_database(file: Path) -> bool:
    with contextlib.suppress(OSError), file.open("rb") as opened:
        return opened.read(16) == b"SQLite format 3\0"
    return False
