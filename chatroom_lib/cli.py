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
import threading
import time
from collections.abc import Callable
from functools import partial

from chatroom_lib.rooms import VERSIONS, RoomError, create, resolve
from chatroom_lib.rooms.asgi import PATH, asgi
from chatroom_lib.rooms.asgi.application import names_application
from chatroom_lib.rooms.requirements import takes
from chatroom_lib.runtime.addresses import is_loopback
from chatroom_lib.runtime.console import complain, one_line

TIME_TO_STOP = 1.8  # seconds
TIME_TO_END = 2.4  # seconds in which several servers end
SIGHUP = getattr(signal, "SIGHUP", None)  # the terminal was closed; Windows has no such signal
ENDING_SIGNALS = [number for number in (signal.SIGINT, signal.SIGTERM, SIGHUP) if number]
TALK, STORM = ("every", "deaf"), ("wait", "patience")  # options of `load`: without --storm, and with it
OF_A_SERVER = {  # options of `check`: by their names in Python
    **{name: name for name in ("rounds", "wire", "fields", "event", "hello", "query", "pid", "people", "anywhere")},
    "server_command": "command",
    "headers": "header",
}
OF_AN_APPLICATION = ("wire", "fields", "hello")  # those that also an ASGI application may need
ROOM = f"{', '.join(VERSIONS)}, or your own: path/to/file.py:NAME, a class, a function that makes a room, or a handler"
OR_ASGI = f"{ROOM}; or module:app, an ASGI application"


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
    one_room, as_json, served = (Parser(add_help=False) for _ in range(3))
    one_room.add_argument("room", metavar="ROOM", help=OR_ASGI)
    one_room.add_argument("--path", metavar="PATH", help="of an ASGI application's websocket (default: /ws)")
    one_room.add_argument("--keepalive", type=keepalive, metavar="SECONDS",
                          help="ping each client this often, and disconnect it if no answer comes in as long again; "
                          "0: never (default: as the room's server_options say, or never)")  # fmt: skip
    as_json.add_argument("--json", action="store_true", help="print one JSON document and nothing else")

    served.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    served.add_argument("--data", metavar="FILE",
                        help="keep the room's history in this file (default: a temporary one); for a cluster on NATS, "
                        "in this folder")  # fmt: skip
    served.add_argument("--nats", metavar="URL", help="keep it at this NATS server: nats://127.0.0.1:4222")
    served.add_argument("--keep", metavar="N", type=count_of("messages"),
                        help="forget all but the last N messages (default: 100,000)")  # fmt: skip
    served.add_argument("--unlimited", action="store_true", help="switch the room's rate limit off")
    served.add_argument("--allow-null-origin", action="store_true",
                        help="let pages opened as files join, and with them sandboxed frames of any site")  # fmt: skip

    command = commands.add_parser("serve", help="run a room until SIGINT, SIGTERM or SIGHUP",
                                  parents=[one_room, served])  # fmt: skip
    command.set_defaults(run=run_server)
    command.add_argument("--port", type=port, default=8081, help="default: %(default)s; 0 for any free one")
    command.add_argument("--processes", metavar="N", type=count_of("processes"), default=1,
                         help="serve with N processes that share all (default: 1)")  # fmt: skip
    command.add_argument("--other", metavar="URL", action="append", default=[],
                         help="another server of this history, where the page goes on if this one ends")  # fmt: skip
    command.add_argument("--child", action="store_true", help=argparse.SUPPRESS)  # it is one of several
    command.add_argument("--shared-port", action="store_true", help=argparse.SUPPRESS)  # which have one port

    command = commands.add_parser("cluster", help="run several servers that share a history, until a signal",
                                  parents=[one_room, served])  # fmt: skip
    command.set_defaults(run=run_cluster)
    command.add_argument("--servers", metavar="N", type=count_of("servers"), default=3, help="default: 3")
    command.add_argument("--port", type=port, default=8081,
                         help="of the first, the next ones follow (default: %(default)s); 0 for any")  # fmt: skip

    command = commands.add_parser("load", help="let many clients talk in a room, and count what arrives",
                                  parents=[as_json])  # fmt: skip
    command.set_defaults(run=run_load)
    command.add_argument("urls", metavar="URL", nargs="+",
                         help="ws://127.0.0.1:8081/chatroom; several, of servers with one history")  # fmt: skip
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

    command = commands.add_parser("check", help="try a room, or any server, in every scenario, and judge it",
                                  parents=[one_room, as_json])  # fmt: skip
    command.set_defaults(run=run_check)
    command.add_argument("--seeds", type=count_of("seeds"), metavar="N", help="of a room: how many (default: 200)")
    server = command.add_argument_group("a server", "instead of a ROOM, the address of any server: ws://HOST:PORT/PATH")
    server.add_argument("--rounds", type=count_of("rounds"), metavar="N", help="a minute each (default: 1)")
    server.add_argument("--wire", choices=("json", "text", "socketio"),
                        help="what its frames are (default: json, with the fields token and content)")  # fmt: skip
    server.add_argument("--fields", type=json_fields, metavar="NAME,TEXT",
                        help="other names of the two; more with a fixed text: user,msg,type=chat")  # fmt: skip
    server.add_argument("--event", metavar="NAME", help="of Socket.IO (default: message)")
    server.add_argument("--hello", metavar="TEXT", help="a frame that everybody sends first; {name} is who it is")
    server.add_argument("--query", metavar="TEXT", help="in everybody's URL: user={name}")
    server.add_argument("--header", type=header, metavar="NAME: VALUE", action="append", dest="headers",
                        help="in everybody's handshake; may be repeated")  # fmt: skip
    server.add_argument("--command", metavar="COMMAND", dest="server_command",
                        help="what starts the server: it is started anew for each scenario, and ended")  # fmt: skip
    server.add_argument("--pid", type=count_of("processes"), metavar="N", help="the server's process, if it runs")
    server.add_argument("--people", type=count_of("people"), metavar="N", help="who talk, at most")
    server.add_argument("--anywhere", action="store_true", default=None,
                        help="also a server of your own outside of this machine and of private networks")  # fmt: skip

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


def json_fields(text: str) -> dict:
    """ "user,msg,type=chat" as the fields of a JsonWire."""
    parts = [part.strip() for part in text.split(",")]
    names, more = parts[:2], [part.partition("=") for part in parts[2:]]
    if len(names) < 2 or not all(names) or any("=" in name for name in names) or not all(a and b for a, b, _ in more):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME,TEXT, the fields of a JSON object, such as user,msg")
    return {"name": names[0], "text": names[1], "more": {name: value for name, _, value in more}}


def header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not a header, such as 'Authorization: Bearer abc'")
    return name.strip(), value.strip()


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

    factory = resolve(room_of(options))
    require_taken(factory, options, ("data", "path", "v8"), ("keep", "keep", "v8"), ("nats", "nats", "v9.1"))
    room = made(factory, options)
    if options.processes > 1:
        return run_several(room, options, options.processes, "serve_one_port")
    try:
        run_here(serve_until_told(room, options))
    except ServerError as error:
        raise UsageError(str(error)) from error
    except KeyboardInterrupt:  # before it served
        os._exit(130)
    os._exit(0)  # at once: a thread that the room left behind, or one more signal, changes nothing now


def room_of(options):
    """What makes the room that was named."""
    if not is_application(options):
        return options.room
    given = {name: value for name in OF_AN_APPLICATION if (value := getattr(options, name, None)) is not None}
    return asgi(options.room, options.path or PATH, **given)


def is_application(options) -> bool:
    return options.path is not None or names_application(options.room)


def require_taken(factory, options, *wanted: tuple[str, str, str]) -> None:
    """Raises UsageError for an option that is given and that the room does not take: (option, parameter, version that
    takes it)."""
    for option, parameter, version in wanted:
        if getattr(options, option) is not None and not takes(factory, parameter):
            why = f"that is for a room which takes `{parameter}`, such as {version}"
            raise UsageError(f"{options.room} has no use for --{option}: {why}")


def made(factory, options):
    return create(factory, unlimited=options.unlimited, path=options.data, keep=options.keep, nats=options.nats)


def run_cluster(options) -> None:
    factory = resolve(room_of(options))
    require_taken(factory, options, ("keep", "keep", "v8"), ("nats", "nats", "v9.1"))
    run_several(made(factory, options), options, options.servers, "serve_cluster")


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
        others=options.other,
        **({"reuse_port": True} if options.shared_port else {}),
    )
    server.name = options.room
    await server.start()
    told = asyncio.Event()
    stop = partial(asyncio.get_running_loop().call_soon_threadsafe, told.set)
    if options.child:
        threading.Thread(target=when_input_ends, args=[stop], daemon=True).start()
    elif not server.on_loopback:
        complain(f"anyone who can reach {options.host} can join and read along")
    when_signalled(stop)
    say(f"serving {server.name} at {server.url}{where_it_is_kept(room, options)}")
    await told.wait()
    await server.stop()


def when_input_ends(stop) -> None:
    """Call `stop` when whoever has started this process closes its standard input, or ends."""
    with contextlib.suppress(OSError, ValueError):
        while sys.stdin.buffer.read(1):
            pass
    stop()


def run_several(room, options, number: int, how: str) -> None:
    """Run several servers, each with a room like this one, until a signal ends them. `how`: the coroutine function of
    cluster.py that does."""
    from chatroom_lib.server import cluster
    from chatroom_lib.server.server import ServerError

    if not getattr(room, "many_servers", False):
        why = "several servers are for a room that says `many_servers = True`, such as v9"
        raise UsageError(f"{options.room} is made for one; {why}")
    shares_nats = takes(resolve(options.room), "nats")
    if options.nats and options.data:
        raise UsageError("--data is for a NATS server of our own: leave it out, or --nats")
    command = partial(command_of_one, options)
    plan = cluster.Plan(
        options.room,
        number,
        options.host,
        options.port,
        options.data,
        options.nats,
        shares_nats,
        command,
        say,
        complain,
    )
    if not is_loopback(options.host):
        complain(f"anyone who can reach {options.host} can join and read along")
    try:
        asyncio.run(until_signalled(getattr(cluster, how), plan))
    except ServerError as error:
        raise UsageError(str(error)) from error


async def until_signalled(serve, plan) -> None:
    told = asyncio.Event()
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, told.set)
    serving, waiting = asyncio.create_task(serve(plan, told)), asyncio.create_task(told.wait())
    await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await asyncio.wait([serving], timeout=None if not told.is_set() else TIME_TO_END)
    serving.cancel()  # it may still be starting something
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def command_of_one(options, *more: str) -> list[str]:
    """The command that runs one of several servers."""
    command = [sys.executable, "-m", "chatroom_lib", "serve", options.room, "--child", "--host", options.host, *more]
    for name in ("keep", "keepalive"):
        value = getattr(options, name)
        command += [f"--{name}", str(value)] if value is not None else []
    for name in ("unlimited", "allow_null_origin"):
        command += [f"--{name.replace('_', '-')}"] if getattr(options, name) else []
    return command


def say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # whether anybody reads this or not, the servers serve
        print(text, flush=True)


def where_it_is_kept(room, options) -> str:
    """ " (history in chat.db)", if the room has one."""
    from chatroom_lib.server.cluster import TEMPORARY

    history = getattr(room, "history", None)
    if isinstance(url := getattr(history, "url", None), str):
        return f" (history in NATS at {one_line(url)})"
    path = options.data or getattr(history, "path", None)
    if not isinstance(path, str):
        return ""
    return f" (history in {one_line(path)}{'' if options.data else TEMPORARY.format('file', 'FILE')})"


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
    if options.storm and len(options.urls) > 1:
        raise UsageError("--storm is about the return to one server: give one URL")
    where = options.urls if len(options.urls) > 1 else options.urls[0]
    try:
        said = {name: value for name, value in given.items() if value is not None}
        result = run(where, **said, progress=not options.json)
    except LoadError as error:
        raise UsageError(str(error)) from error
    show(options, result.as_dict(), result.table)


def run_check(options) -> None:
    of_a_server = {name: value for name in OF_A_SERVER if (value := getattr(options, name)) is not None}
    if "://" in options.room:
        return run_check_server(options, of_a_server)
    only = [name for name in of_a_server if not (is_application(options) and name in OF_AN_APPLICATION)]
    if only:
        name = OF_A_SERVER[only[0]]
        raise UsageError(f"--{name} is for a server, ws://HOST:PORT/PATH, and {options.room} is none")
    from chatroom_lib.checker.check import check

    card = check(room_of(options), options.seeds or 200, keepalive=options.keepalive, progress=not options.json)
    show(options, card.as_dict(), card.grid)


def run_check_server(options, given: dict) -> None:
    from chatroom_lib.checker.outside.check_server import check_server
    from chatroom_lib.server.server import ServerError

    for name in ("seeds", "keepalive", "path"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} is for a room, and {options.room} is a server")
    if options.anywhere:
        complain("people will connect, flood and freeze there for minutes: a load on it, for your own servers only")
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)  # so that what has been started is ended
    given = {("command" if name == "server_command" else name): value for name, value in given.items()}
    try:
        card = check_server(options.room, progress=not options.json, **given)
    except (ServerError, ValueError) as error:
        raise UsageError(str(error)) from error
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
