"""Several processes that serve the same: behind one port, `chatroom serve v9 --processes 3`, or each at an address of
its own, `chatroom cluster v9.1 --servers 3`.

This process serves nobody. It starts them, starts another one in place of one that ends, and stops all when it is told
to. If they have one port, each listens there (SO_REUSEPORT), and the system gives each new connection to one of them.
"""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Iterator

from chatroom_lib.server.server import ServerError

LONGEST_START = 30.0  # seconds until a process must say that it serves
LONGEST_END = 2.0  # seconds until one that is told to stop is killed
PAUSE = 1.0  # seconds until one that does not start is tried again
SHORT_LIFE = 5.0  # seconds
MOST_SHORT_LIVES = 3  # of processes that end by themselves, in a row; then it is of no use to start another one
LARGEST_PORT = 65535
SERVES = b"serving"  # how the line begins that a process writes when it serves


class Processes:
    """Each of the `commands` starts one of them: it is to write a line to standard output when it serves, and to stop
    when its standard input ends, which it also does if this process is killed."""

    def __init__(self, commands: list[list[str]], complain: Callable[[str], None]):
        self.commands, self.complain = commands, complain
        self.running: dict[int, asyncio.subprocess.Process] = {}  # the number of the command -> its process
        self.short_lives = 0

    async def run(self, told: asyncio.Event, announce: Callable[[], None]) -> None:
        """Until it is `told`. `announce` is called when all of them serve. Raises ServerError if that is not to be."""
        try:
            async with asyncio.TaskGroup() as tasks:
                ready = [asyncio.Event() for _ in self.commands]
                keeping = [tasks.create_task(self.keep_one(number, each)) for number, each in enumerate(ready)]
                announcing = tasks.create_task(self.when_all(ready, announce))
                await told.wait()
                for task in (*keeping, announcing):
                    task.cancel()
        except* ServerError as errors:
            raise errors.exceptions[0] from None
        finally:
            await asyncio.gather(*map(stop, self.running.values()))

    @staticmethod
    async def when_all(ready: list[asyncio.Event], announce: Callable[[], None]) -> None:
        for each in ready:
            await each.wait()
        announce()

    async def keep_one(self, number: int, ready: asyncio.Event) -> None:
        """One process after the other, each in place of the one before."""
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            try:
                process = await self.start(number)
            except ServerError as error:
                if not ready.is_set():
                    raise
                self.complain(f"{error}; it is tried again")
                await asyncio.sleep(PAUSE)
                continue
            ready.set()
            await process.wait()
            del self.running[number]
            by_itself = process.returncode >= 0 and clock() - began < SHORT_LIFE
            self.short_lives = self.short_lives + 1 if by_itself else 0
            if self.short_lives >= MOST_SHORT_LIVES:
                raise ServerError(f"one process after the other ends: the last one by {how_it_ended(process)}")
            self.complain(f"process {process.pid} has ended ({how_it_ended(process)}); another one takes its place")

    async def start(self, number: int) -> asyncio.subprocess.Process:
        """Raises ServerError if it ends before it serves; it has said why itself."""
        process = await asyncio.create_subprocess_exec(
            *self.commands[number],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us
        )
        self.running[number] = process
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_START):
                line = await process.stdout.readline()
        if not line.startswith(SERVES):
            del self.running[number]
            await stop(process)
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
    (port,) = free_addresses(host, port, 1)
    family, *_, address = resolved(host, port)
    with socket.socket(family, socket.SOCK_STREAM) as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        keeper.bind(address)
        yield keeper.getsockname()


def free_addresses(host: str, port: int, number: int) -> list[int]:
    """Ports where nobody listens: `port` and those that follow it; if it is 0, any. Raises ServerError."""
    with contextlib.ExitStack() as kept:
        ports = []
        for each in [port + offset if port else 0 for offset in range(number)]:
            try:
                if each > LARGEST_PORT:
                    raise OverflowError(f"ports end with {LARGEST_PORT}")
                family, *_, address = resolved(host, each)
                sock = kept.enter_context(socket.socket(family, socket.SOCK_STREAM))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(address)
                sock.listen(1)
                ports.append(sock.getsockname()[1])
            except (OSError, OverflowError, UnicodeError) as error:
                taken = getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES)
                hint = "; use another port, or 0 for any free one" * taken
                why = getattr(error, "strerror", None) or error
                raise ServerError(f"cannot listen on {host} port {each}: {why}{hint}") from None
        return ports


def resolved(host: str, port: int) -> tuple:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
