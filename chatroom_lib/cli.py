"""The command line: `chatroom serve | load | check | bench`, the same as `python -m chatroom_lib`.

What a command needs is imported when it runs, so that none waits for what only another one needs.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial

from chatroom_lib.rooms import VERSIONS, RoomError, create, resolve
from chatroom_lib.rooms.requirements import takes
from chatroom_lib.runtime.console import complain, one_line

TIME_TO_STOP = 1.8  # seconds
SIGHUP = getattr(signal, "SIGHUP", None)  # the terminal was closed; Windows has no such signal
ENDING_SIGNALS = [number for number in (signal.SIGINT, signal.SIGTERM, SIGHUP) if number]
TEMPORARY = ", a temporary file: --data FILE keeps it"
TALK, STORM = ("every", "deaf"), ("wait", "patience")  # options of `load`: without --storm, and with it
ROOM = f"{', '.join(VERSIONS)}, or your own: path/to/file.py:NAME, a class, a function that makes a room, or a handler"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line on standard error, and exits with code 2."""

    def error(self, message):
        self.exit(2, f"chatroom: {one_line(message, 1000)}\n")


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (RoomError, UsageError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


class UsageError(ValueError):
    """A command cannot do what it was asked for. The text says why, and what to do."""


def make_parser() -> Parser:
    parser = Parser(prog="chatroom", description="A chat room, built version by version.")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    one_room, as_json = Parser(add_help=False), Parser(add_help=False)
    one_room.add_argument("room", metavar="ROOM", help=ROOM)
    one_room.add_argument("--keepalive", type=keepalive, metavar="SECONDS",
                          help="ping each client this often, and disconnect it if no answer comes in as long again; "
                          "0: never (default: as the room's server_options say, or never)")  # fmt: skip
    as_json.add_argument("--json", action="store_true", help="print one JSON document and nothing else")

    command = commands.add_parser("serve", help="run a room until SIGINT, SIGTERM or SIGHUP", parents=[one_room])
    command.set_defaults(run=run_server)
    command.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    command.add_argument("--port", type=port, default=8081, help="default: %(default)s; 0 for any free one")
    command.add_argument("--data", metavar="FILE",
                         help="keep the room's history in this file (default: a temporary one)")  # fmt: skip
    command.add_argument("--keep", metavar="N", type=count_of("messages"),
                         help="forget all but the last N messages (default: 100,000)")  # fmt: skip
    command.add_argument("--processes", metavar="N", type=count_of("processes"), default=1,
                         help="serve with N processes, which share the history and the port (default: 1)")  # fmt: skip
    command.add_argument("--shared-port", action="store_true", help=argparse.SUPPRESS)  # it is one of these
    command.add_argument("--unlimited", action="store_true", help="switch the room's rate limit off")
    command.add_argument("--allow-null-origin", action="store_true",
                         help="let pages opened as files join, and with them sandboxed frames of any site")  # fmt: skip

    command = commands.add_parser("load", help="let many clients talk in a room, and count what arrives",
                                  parents=[as_json])  # fmt: skip
    command.set_defaults(run=run_load)
    command.add_argument("url", metavar="URL", help="ws://127.0.0.1:8081/chatroom")
    command.add_argument("--clients", type=int, metavar="N", help="default: 10; with --storm 500")
    command.add_argument("--every", type=float, metavar="SECONDS",
                         help="from one message to the next, all clients together (default: 0.001)")  # fmt: skip
    command.add_argument("--seconds", type=float,
                         help="how long they talk (default: 5); with --storm: how long they try to come back "
                         "(default: 60)")  # fmt: skip
    command.add_argument("--deaf", action="store_true", help="the clients never read, like those of the article")
    command.add_argument("--storm", action="store_true",
                         help="they say nothing: end the server, start it again, and see how they return")  # fmt: skip
    command.add_argument("--wait", metavar="HOW",
                         help="with --storm, what each does before an attempt: at once, fixed, exponential, jitter or "
                         "told, as long as the room says (default: told)")  # fmt: skip
    command.add_argument("--patience", type=float, metavar="SECONDS",
                         help="with --storm, when a client gives an attempt up (default: 1.5)")  # fmt: skip

    command = commands.add_parser("check", help="try a room in every scenario, and judge what it guarantees",
                                  parents=[one_room, as_json])  # fmt: skip
    command.set_defaults(run=run_check)
    command.add_argument("--seeds", type=count_of("seeds"), default=200, metavar="N", help="default: %(default)s")

    command = commands.add_parser("bench", help="measure versions and other servers against websockets.broadcast()",
                                  parents=[as_json])  # fmt: skip
    command.set_defaults(run=run_bench)
    command.add_argument("targets", metavar="ROOM", nargs="*", help=f"{ROOM}, or none, for all there are")
    command.add_argument("--quick", action="store_true", help="less of everything: under a minute, not fifteen")
    return parser


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, a number from 0 to 65535")
    return int(text)


def keepalive(text: str) -> float:
    from chatroom_lib.server.options import require_keepalive

    try:
        return require_keepalive(float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 for no pings") from None


def count_of(what: str) -> Callable[[str], int]:
    """What reads a number of these."""

    def count(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= 1):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of {what}, 1 or more")
        return int(text)

    return count


def run_server(options) -> None:
    """Run the room here, on the main thread, until a signal ends it."""
    from chatroom_lib.runtime.background import run_here
    from chatroom_lib.server.server import ServerError

    factory = resolve(options.room)
    for option, parameter in (("data", "path"), ("keep", "keep")):
        if getattr(options, option) is not None and not takes(factory, parameter):
            why = f"--{option} is for a room that takes a `{parameter}`, such as v8"
            raise UsageError(f"{options.room} keeps no history; {why}")
    room = create(factory, unlimited=options.unlimited, path=options.data, keep=options.keep)
    if options.processes > 1:
        return run_processes(room, options)
    try:
        run_here(serve_until_told(room, options))
    except ServerError as error:
        raise UsageError(str(error)) from error
    except KeyboardInterrupt:  # before it served
        os._exit(130)
    os._exit(0)  # at once: a thread that the room left behind, or one more signal, changes nothing now


async def serve_until_told(room, options) -> None:
    from chatroom_lib.server.server import Server

    server = Server(
        room,
        options.host,
        options.port,
        keepalive=options.keepalive,
        allow_null_origin=options.allow_null_origin,
        on_error=complain,
        on_notice=complain,
        **({"reuse_port": True} if options.shared_port else {}),
    )
    server.name = options.room
    await server.start()
    told = asyncio.Event()
    stop = partial(asyncio.get_running_loop().call_soon_threadsafe, told.set)
    if options.shared_port:
        threading.Thread(target=when_input_ends, args=[stop], daemon=True).start()
    elif not server.on_loopback:
        warn_of_strangers(options.host)
    when_signalled(stop)
    with contextlib.suppress(OSError, ValueError):  # whether anybody reads this or not, the server serves
        print(f"serving {server.name} at {server.url}{where_it_is_kept(room, options.data)}", flush=True)
    await told.wait()
    await server.stop()


def warn_of_strangers(host: str) -> None:
    complain(f"anyone who can reach {host} can join and read along")


def when_input_ends(stop) -> None:
    """Call `stop` when whoever has started this process closes its standard input, or ends."""
    with contextlib.suppress(OSError, ValueError):
        while sys.stdin.buffer.read(1):
            pass
    stop()


def run_processes(room, options) -> None:
    """Run several processes, each with a room like this one, until a signal ends them."""
    from chatroom_lib.server.server import ServerError

    if not getattr(room, "many_servers", False):
        why = "--processes is for a room that says `many_servers = True`, such as v9"
        raise UsageError(f"{options.room} is made for one server; {why}")
    try:
        asyncio.run(run_until_told(options))
    except ServerError as error:
        raise UsageError(str(error)) from error


async def run_until_told(options) -> None:
    from chatroom_lib.runtime.addresses import is_loopback
    from chatroom_lib.server.processes import Processes, one_address
    from chatroom_lib.server.server import url_of

    told = asyncio.Event()
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, told.set)
    with contextlib.ExitStack() as kept:
        address = kept.enter_context(one_address(options.host, options.port))
        if not is_loopback(address[0]):
            warn_of_strangers(options.host)
        folder = kept.enter_context(tempfile.TemporaryDirectory(prefix="chatroom-"))
        data = options.data or os.path.join(folder, "chat.db")
        processes = Processes(command_of_one(options, address[1], data), options.processes, complain)

        def announce() -> None:
            where = f"history in {one_line(data)}{'' if options.data else TEMPORARY}"
            numbers = ", ".join(str(process.pid) for process in processes.running)
            url = url_of(options.host, address[1], "/chatroom")
            with contextlib.suppress(OSError, ValueError):
                print(f"serving {options.room} at {url} ({where}; processes {numbers})", flush=True)

        await processes.run(told, announce)


def command_of_one(options, port: int, data: str) -> list[str]:
    """The command that runs one of several processes."""
    command = [sys.executable, "-m", "chatroom_lib", "serve", options.room, "--shared-port"]
    given = {"host": options.host, "port": port, "data": data, "keep": options.keep, "keepalive": options.keepalive}
    for name, value in given.items():
        command += [f"--{name}", str(value)] if value is not None else []
    for name in ("unlimited", "allow_null_origin"):
        command += [f"--{name.replace('_', '-')}"] if getattr(options, name) else []
    return command


def where_it_is_kept(room, data: str | None) -> str:
    """ " (history in chat.db)", if the room has one."""
    path = data or getattr(getattr(room, "history", None), "path", None)
    if not isinstance(path, str):
        return ""
    return f" (history in {one_line(path)}{'' if data else TEMPORARY})"


def when_signalled(stop) -> None:
    """Call `stop` at the first signal that ends a server."""
    ends = socket.socketpair()
    ends[1].setblocking(False)
    signal.set_wakeup_fd(ends[1].fileno(), warn_on_full_buffer=False)
    for number in ENDING_SIGNALS:
        if number != SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, lambda *_: None)
    threading.Thread(target=wait_for_signal, args=(ends, stop), daemon=True).start()


def wait_for_signal(ends: tuple[socket.socket, socket.socket], stop) -> None:
    """On a thread of its own, which is told of a signal even while the room keeps the event loop busy."""
    while ends[0].recv(1)[0] not in ENDING_SIGNALS:  # a room may handle others, which are written there, too
        pass
    stop()
    time.sleep(TIME_TO_STOP)
    complain("the room did not stop in time, and is left behind")
    os._exit(0)


def run_load(options) -> None:
    from chatroom_lib.clients.load import LoadError, run_load
    from chatroom_lib.clients.storm import run_storm

    run, wanted, others = (run_storm, STORM, TALK) if options.storm else (run_load, TALK, STORM)
    for name in others:
        if getattr(options, name):
            raise UsageError(f"--{name} goes {'not together' if options.storm else 'only'} with --storm")
    given = {name: getattr(options, name) for name in ("clients", "seconds", *wanted)}
    try:
        said = {name: value for name, value in given.items() if value is not None}
        result = run(options.url, **said, progress=not options.json)
    except LoadError as error:
        raise UsageError(str(error)) from error
    show(options, result.as_dict(), result.table)


def run_check(options) -> None:
    from chatroom_lib.checker.check import check

    card = check(options.room, options.seeds, keepalive=options.keepalive, progress=not options.json)
    show(options, card.as_dict(), card.grid)


def run_bench(options) -> None:
    from chatroom_lib.bench.loads import QUICK
    from chatroom_lib.bench.suite import bench

    chosen = {"targets": options.targets} if options.targets else {}
    so_far = []
    try:
        bench(**{**(QUICK if options.quick else {}), **chosen}, progress=not options.json, on_round=so_far.append)
    finally:  # an interrupt or an error loses nothing that was measured before
        for report in so_far[-1:]:
            show(options, report.as_dict(), report.tables)


def show(options, document: dict, table) -> None:
    """Print `document` if JSON was asked for, else what `table()` makes."""
    if not sys.stdout:  # closed, so nobody wants to see it
        return
    try:
        if options.json:
            print(json.dumps(document))
        else:
            from rich.console import Console

            Console().print(table())
        sys.stdout.flush()
    except OSError as error:
        with open(os.devnull, "w") as nowhere:  # what Python would still print when it ends
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # as in `chatroom check v1 | head`
            sys.exit(1)
        raise UsageError(f"cannot print the result: {error.strerror}") from None
