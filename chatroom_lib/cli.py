"""The command line: `chatroom serve | load | check | bench`, the same as `python -m chatroom_lib`.

What a command needs is imported when it runs, so that none waits for what only another one needs.
"""

import argparse
import json
import os
import signal
import socket
import sys

from chatroom_lib.rooms import VERSIONS, RoomError, create
from chatroom_lib.runtime.console import complain

TIME_TO_STOP = 1.8  # seconds
ROOM = f"{', '.join(VERSIONS)}, or your own: path/to/file.py:Class"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line on standard error, and exits with code 2."""

    def error(self, message):
        self.exit(2, f"chatroom: {' '.join(message.splitlines())}\n")


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
    as_json.add_argument("--json", action="store_true", help="print one JSON document and nothing else")

    command = commands.add_parser("serve", help="run a room until SIGINT or SIGTERM", parents=[one_room])
    command.set_defaults(run=run_server)
    command.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    command.add_argument("--port", type=port, default=8081, help="default: %(default)s; 0 for any free one")
    command.add_argument("--unlimited", action="store_true", help="switch the room's rate limit off")
    command.add_argument("--allow-null-origin", action="store_true",
                         help="let pages opened as files join, and with them sandboxed frames of any site")  # fmt: skip

    command = commands.add_parser("load", help="let many clients talk in a room, and count what arrives",
                                  parents=[as_json])  # fmt: skip
    command.set_defaults(run=run_load)
    command.add_argument("url", metavar="URL", help="ws://127.0.0.1:8081/chatroom")
    command.add_argument("--clients", type=int, default=10, metavar="N", help="default: %(default)s")
    command.add_argument("--every", type=float, default=0.001, metavar="SECONDS",
                         help="from one message to the next, all clients together (default: %(default)s)")  # fmt: skip
    command.add_argument("--seconds", type=float, default=5.0, help="how long they talk (default: %(default)s)")
    command.add_argument("--deaf", action="store_true", help="the clients never read, like those of the article")

    command = commands.add_parser("check", help="try a room in every scenario, and judge what it guarantees",
                                  parents=[one_room, as_json])  # fmt: skip
    command.set_defaults(run=run_check)
    command.add_argument("--seeds", type=seeds, default=200, metavar="N", help="default: %(default)s")

    command = commands.add_parser("bench", help="measure versions and other servers against websockets.broadcast()",
                                  parents=[as_json])  # fmt: skip
    command.set_defaults(run=run_bench)
    command.add_argument("targets", metavar="ROOM", nargs="*", help=f"{ROOM}, or none: all that there are")
    command.add_argument("--quick", action="store_true", help="less of everything: under a minute, not a quarter hour")
    return parser


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, a number from 0 to 65535")
    return int(text)


def seeds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seeds, 1 or more")
    return int(text)


def run_server(options) -> None:
    from chatroom_lib.runtime.background import run
    from chatroom_lib.server.server import ServerError
    from chatroom_lib.server.serving import serve

    room = create(options.room, unlimited=options.unlimited)
    try:
        server = run(
            serve(
                room,
                options.host,
                options.port,
                name=options.room,
                allow_null_origin=options.allow_null_origin,
                on_error=complain,
                on_notice=complain,
            )
        )
    except ServerError as error:
        raise UsageError(str(error)) from error
    if not server.on_loopback:
        complain(f"everybody who can reach {options.host} can join and read along")
    # A signal is written to a socket. It would not wake a lock that waits, if another thread happens to receive it.
    signals, signalled = socket.socketpair()
    signalled.setblocking(False)
    signal.set_wakeup_fd(signalled.fileno())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    print(f"serving {server.name} at {server.url}", flush=True)
    signals.recv(1)
    try:
        run(server.stop(), timeout=TIME_TO_STOP)
    except TimeoutError:
        complain("the room did not stop in time, and is left behind")
    sys.stdout.flush()
    os._exit(0)  # at once: a thread that the room left behind, or one more signal, changes nothing now


def run_load(options) -> None:
    from chatroom_lib.clients.load import LoadError, run_load

    try:
        result = run_load(
            options.url, options.clients, options.every, options.seconds, options.deaf, progress=not options.json
        )
    except LoadError as error:
        raise UsageError(str(error)) from error
    show(options, result.as_dict(), result.table)


def run_check(options) -> None:
    from chatroom_lib.checker.check import check

    card = check(options.room, options.seeds, progress=not options.json)
    show(options, card.as_dict(), card.grid)


def run_bench(options) -> None:
    from chatroom_lib.bench.loads import QUICK
    from chatroom_lib.bench.suite import bench

    chosen = {"targets": options.targets} if options.targets else {}
    report = bench(**{**(QUICK if options.quick else {}), **chosen}, progress=not options.json)
    show(options, report.as_dict(), report.tables)


def show(options, document: dict, table) -> None:
    """Print `document` if JSON was asked for, else what `table()` makes."""
    if options.json:
        print(json.dumps(document))
    else:
        from rich.console import Console

        Console().print(table())
