"""A chat room, built version by version, and the tools to watch it fail.

    trace = simulate("v1.1", Scenario([talker("Ann"), frozen("Bob", vanishes=1), listener("Cy")]), seed=1)
    trace = await live("v1.1", the_same_scenario)     # on real sockets
    server = await serve("v1.1")                      # to chat in, at server.page
    check("v1.1")                                     # every guarantee, in every scenario, with many seeds

The names below are what most people need. Each is loaded when it is first used, so that importing this package
loads neither matplotlib nor Jupyter.
"""

from importlib import import_module

_HOMES = {
    "rooms": (),  # a module itself
    "limits": (),
    "bench": (),
    "plots": (),
    "show": (),
    "background": ("run",),
    "clients": (
        *("Client", "Scenario", "talker", "listener", "late_joiner", "slow_reader"),
        *("frozen", "vanishing", "leaving", "flooder", "typist"),
    ),
    "gauntlet": ("check",),
    "guarantees": (),
    "realtime": ("live",),
    "message": ("Message", "MessageError", "decode", "encode"),
    "panel": ("ChatPanel", "chat"),
    "scenarios": (),
    "scorecard": ("Scorecard", "compare"),
    "server": ("Server", "ServerError", "serve", "stop_all"),
    "simulation": ("simulate",),
    "trace": ("Event", "Trace", "Use"),
    "vitals": ("dashboard",),
    "waiting": (),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names or (module,)}
__all__ = sorted(_HOME_OF)


def __getattr__(name):
    if name not in _HOME_OF:
        raise AttributeError(f"chatroom_lib has no {name!r}; it has {', '.join(__all__)}")
    module = import_module(f"chatroom_lib.{_HOME_OF[name]}")
    return module if _HOMES[_HOME_OF[name]] == () else getattr(module, name)


def __dir__():
    return __all__
