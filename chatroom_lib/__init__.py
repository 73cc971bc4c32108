"""A chat room, built version by version, and the tools to watch it fail.

    trace = simulate("v1.1", Scenario([talker("Ann"), frozen("Bob", vanishes=1), listener("Cy")]), seed=1)
    trace = await live("v1.1", the_same_scenario)     # on real sockets
    server = await serve("v1.1")                      # to chat in, at server.page
    check("v1.1")                                     # every guarantee, in every scenario, with many seeds

run a room    simulate, live; serve, stop_all, Server, ServerError; run (a coroutine, in the background)
clients       Client, Scenario, Kill, Cut, Pause; talker, listener, late_joiner, leaving, vanishing, commuter,
              unplugged, slow_reader, frozen, flooder, typist
results       Trace; Event and Use, of which it is made
check         check, Scorecard, compare; guarantees and scenarios (modules); check_server (any server, by its address)
figures       plots (a package: plots.heard(trace), plots.pool(trace), ...)
notebook      chat, ChatPanel, dashboard; claim; show (a module: the code of a room)
benchmark     bench (a package: bench.measure("v4", clients=200, in_flight=8))
frameworks    asgi (FastAPI, Starlette, Litestar, Quart: an application where a room can stand)
to build on   rooms (a package: the versions), rate_limits (a module); Message, MessageError, encode, decode,
              decode_request, decode_reply; History, HistoryError, Position, Gap

Each is loaded when it is first used: importing this package loads neither matplotlib nor Jupyter.
help(chatroom_lib.simulate) describes one of them, and the book's reference all of them.
"""

from typing import TYPE_CHECKING

from chatroom_lib.runtime.lazy import lazy_names

if TYPE_CHECKING:  # for editors and type checkers: the same names
    from chatroom_lib import bench as bench, plots as plots, rate_limits as rate_limits, rooms as rooms
    from chatroom_lib.checker import guarantees as guarantees, scenarios as scenarios
    from chatroom_lib.checker.check import check as check
    from chatroom_lib.checker.outside.check_server import check_server as check_server
    from chatroom_lib.checker.scorecard import Scorecard as Scorecard, compare as compare
    from chatroom_lib.clients.scenario import (
        Client as Client,
        Cut as Cut,
        Kill as Kill,
        Pause as Pause,
        Scenario as Scenario,
        commuter as commuter,
        flooder as flooder,
        frozen as frozen,
        late_joiner as late_joiner,
        leaving as leaving,
        listener as listener,
        slow_reader as slow_reader,
        talker as talker,
        typist as typist,
        unplugged as unplugged,
        vanishing as vanishing,
    )
    from chatroom_lib.history import History as History, HistoryError as HistoryError
    from chatroom_lib.message import (
        Gap as Gap,
        Message as Message,
        MessageError as MessageError,
        Position as Position,
        decode as decode,
        decode_reply as decode_reply,
        decode_request as decode_request,
        encode as encode,
    )
    from chatroom_lib.notebook import show as show
    from chatroom_lib.notebook.chat_panel import ChatPanel as ChatPanel, chat as chat
    from chatroom_lib.notebook.claim import claim as claim
    from chatroom_lib.notebook.dashboard import dashboard as dashboard
    from chatroom_lib.rooms.asgi import asgi as asgi
    from chatroom_lib.runs.live import live as live
    from chatroom_lib.runs.simulation import simulate as simulate
    from chatroom_lib.runtime.background import run as run
    from chatroom_lib.server.server import Server as Server, ServerError as ServerError
    from chatroom_lib.server.serving import serve as serve, stop_all as stop_all
    from chatroom_lib.trace import Event as Event, Trace as Trace, Use as Use

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "rooms": (),  # a module itself
        "rate_limits": (),
        "bench": (),
        "plots": (),
        "notebook.show": (),
        "checker.guarantees": (),
        "checker.scenarios": (),
        "checker.check": ("check",),
        "checker.outside.check_server": ("check_server",),
        "checker.scorecard": ("Scorecard", "compare"),
        "clients.scenario": (
            *("Client", "Scenario", "Kill", "Cut", "Pause", "talker", "listener", "late_joiner", "slow_reader"),
            *("commuter", "frozen", "unplugged", "vanishing", "leaving", "flooder", "typist"),
        ),
        "history": ("History", "HistoryError"),
        "message": (
            *("Message", "MessageError", "Position", "Gap"),
            *("decode", "decode_reply", "decode_request", "encode"),
        ),
        "notebook.chat_panel": ("ChatPanel", "chat"),
        "notebook.claim": ("claim",),
        "notebook.dashboard": ("dashboard",),
        "rooms.asgi": ("asgi",),
        "runs.live": ("live",),
        "runs.simulation": ("simulate",),
        "runtime.background": ("run",),
        "server.server": ("Server", "ServerError"),
        "server.serving": ("serve", "stop_all"),
        "trace": ("Event", "Trace", "Use"),
    },
    in_docstring=True,
)
