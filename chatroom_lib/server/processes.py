"""Several processes behind one port: `chatroom serve v9 --processes 3`.

Each listens at the same address (SO_REUSEPORT), and the system gives each new connection to one of them. This process
serves nobody: it starts them, starts another one in place of one that ends, and stops all when it is told to.
"""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Iterator

from chatroom_lib.server.server import ServerError

LONGEST_START = 30.0  # seconds until a process must say that it serves
LONGEST_END = 2.5  # seconds until one that is told to stop is killed
SHORT_LIFE = 5.0  # seconds
MOST_SHORT_LIVES = 3  # of processes that end by themselves, in a row; then it is of no use to start another one
SERVES = b"serving"  # how the line begins that a process writes when it serves


class Processes:
    """`command` starts one of them: it is to write a line to standard output when it serves, and to stop when its
    standard input ends, which it also does if this process is killed."""

    def __init__(self, command: list[str], number: int, complain: Callable[[str], None]):
        self.command, self.number, self.complain = command, number, complain
        self.running: list[asyncio.subprocess.Process] = []
        self.short_lives = 0

    async def run(self, told: asyncio.Event, announce: Callable[[], None]) -> None:
        """Until it is `told`. `announce` is called when all of them serve. Raises ServerError if that is not to be."""
        try:
            async with asyncio.TaskGroup() as tasks:
                ready = [asyncio.Event() for _ in range(self.number)]
                keeping = [tasks.create_task(self.keep_one(each)) for each in ready]
                announcing = tasks.create_task(self.when_all(ready, announce))
                await told.wait()
                for task in (*keeping, announcing):
                    task.cancel()
        except* ServerError as errors:
            raise errors.exceptions[0] from None
        finally:
            await asyncio.gather(*map(stop, self.running))

    @staticmethod
    async def when_all(ready: list[asyncio.Event], announce: Callable[[], None]) -> None:
        for each in ready:
            await each.wait()
        announce()

    async def keep_one(self, ready: asyncio.Event) -> None:
        """One process after the other, each in place of the one before."""
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            process = await self.start()
            ready.set()
            await process.wait()
            self.running.remove(process)
            by_itself = process.returncode >= 0 and clock() - began < SHORT_LIFE
            self.short_lives = self.short_lives + 1 if by_itself else 0
            if self.short_lives >= MOST_SHORT_LIVES:
                raise ServerError(f"one process after the other ends: the last one by {how_it_ended(process)}")
            self.complain(f"process {process.pid} has ended ({how_it_ended(process)}); another one takes its place")

    async def start(self) -> asyncio.subprocess.Process:
        """Raises ServerError if it ends before it serves; it has said why itself."""
        process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us
        )
        self.running.append(process)
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_START):
                line = await process.stdout.readline()
        if not line.startswith(SERVES):
            raise ServerError("a process of the room's does not start")
        return process


async def stop(process: asyncio.subprocess.Process) -> None:
    process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LONGEST_END):
            await process.wait()
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def how_it_ended(process: asyncio.subprocess.Process) -> str:
    code = process.returncode
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


@contextlib.contextmanager
def one_address(host: str, port: int) -> Iterator[tuple]:
    """Keep a port for several processes, `port`, or any free one if that is 0. Yields the address: (host, port, ...).

    Raises ServerError if there is none, or somebody listens there: the system would give some of the connections to
    them.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ServerError("this system does not let several processes listen at one port")
    with contextlib.ExitStack() as kept:
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            with socket.socket(family, socket.SOCK_STREAM) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind(address)
                alone.listen(1)
                port = alone.getsockname()[1]
            keeper = kept.enter_context(socket.socket(family, socket.SOCK_STREAM))
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            keeper.bind((address[0], port, *address[2:]))
        except OSError as error:
            hint = "; use another port, or 0 for any free one" * (error.errno in (errno.EADDRINUSE, errno.EACCES))
            raise ServerError(f"cannot listen on {host} port {port}: {error.strerror or error}{hint}") from None
        yield keeper.getsockname()
