"""The command line: `chatroom serve | load | check | bench`, the same as `python -m chatroom_lib`."""

import argparse
import json
import os
import signal
import socket
import sys

from chatroom_lib import load, rooms
from chatroom_lib.background import run
from chatroom_lib.gauntlet import check
from chatroom_lib.server import LOOPBACK, ServerError, serve

TIME_TO_STOP = 1.8  # seconds


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line on standard error, and exits with code 2."""

    def error(self, message):
        self.exit(2, f"chatroom: {' '.join(message.splitlines())}\n")


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (rooms.RoomError, ServerError, load.LoadError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def make_parser() -> Parser:
    parser = Parser(prog="chatroom", description="A chat room, built version by version.")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("serve", help="run a room until SIGINT or SIGTERM")
    command.set_defaults(run=run_server)
    versions = ", ".join(rooms.VERSIONS)
    command.add_argument("room", metavar="ROOM", help=f"{versions}, or your own: path/to/file.py:Class")
    command.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    command.add_argument("--port", type=port, default=8081, help="default: %(default)s; 0 for any free one")
    command.add_argument("--unlimited", action="store_true", help="switch the room's rate limit off")

    command = commands.add_parser("load", help="let many clients talk in a room, and count what arrives")
    command.set_defaults(run=run_load)
    command.add_argument("url", metavar="URL", help="ws://127.0.0.1:8081/chatroom")
    command.add_argument("--clients", type=int, default=10, metavar="N", help="default: %(default)s")
    command.add_argument("--every", type=float, default=0.001, metavar="SECONDS",
                         help="from one message to the next, of all clients together (default: %(default)s)")
    command.add_argument("--seconds", type=float, default=5.0, help="how long they talk (default: %(default)s)")
    command.add_argument("--deaf", action="store_true", help="the clients never read, like those of the article")
    command.add_argument("--json", action="store_true", help="print one JSON document and nothing else")

    command = commands.add_parser("check", help="try a room in every scenario, and judge what it guarantees")
    command.set_defaults(run=run_check)
    command.add_argument("room", metavar="ROOM", help=f"{versions}, or your own: path/to/file.py:Class")
    command.add_argument("--seeds", type=seeds, default=200, metavar="N", help="default: %(default)s")
    command.add_argument("--json", action="store_true", help="print one JSON document and nothing else")

    command = commands.add_parser("bench", help="measure versions and other servers against websockets.broadcast()")
    command.set_defaults(run=run_bench)
    command.add_argument("entrants", metavar="ROOM", nargs="*",
                         help=f"{versions}, your own: path/to/file.py:Class, or none: all that there are")
    command.add_argument("--quick", action="store_true", help="less of everything: under a minute, not a quarter hour")
    command.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
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
    room = rooms.make(options.room, unlimited=options.unlimited)
    server = run(serve(room, options.host, options.port, name=options.room, on_error=complain))
    if options.host not in LOOPBACK:
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


def complain(problem) -> None:
    if isinstance(problem, BaseException):
        problem = f"error in the room: {type(problem).__name__}: {problem}"
    print(f"chatroom: {problem}", file=sys.stderr, flush=True)


def run_load(options) -> None:
    result = load.run(
        options.url, options.clients, options.every, options.seconds, options.deaf, progress=not options.json
    )
    if options.json:
        print(json.dumps(result.as_dict()))
    else:
        from rich.console import Console

        Console().print(result.table())


def run_check(options) -> None:
    card = check(options.room, options.seeds, progress=not options.json)
    if options.json:
        print(json.dumps(card.as_dict()))
    else:
        from rich.console import Console

        Console().print(card)


def run_bench(options) -> None:
    from chatroom_lib.bench import QUICK, bench

    choice = {**(QUICK if options.quick else {}), **({"entrants": options.entrants} if options.entrants else {})}
    report = bench(**choice, progress=not options.json)
    if options.json:
        print(json.dumps(report.as_dict()))
    else:
        from rich.console import Console

        Console().print(report.tables())


if __name__ == "__main__":
    main()
