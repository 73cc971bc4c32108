"""The command line: `chatroom serve | load`, the same as `python -m chatroom_lib`."""

import argparse
import asyncio
import os
import signal
import sys
import threading

from chatroom_lib import rooms
from chatroom_lib.server import Server, ServerError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
WITHIN = 1.8  # seconds from a signal to the end of the process


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line on standard error, and exits with code 2."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (rooms.RoomError, ServerError, UsageError) as error:
        parser.error(str(error))


class UsageError(ValueError):
    """What was asked for cannot be done; the text says why."""


def make_parser() -> Parser:
    parser = Parser(prog="chatroom", description="A chat room, built version by version.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run a room", description="Run a room until SIGINT or SIGTERM.")
    serve.add_argument("room", metavar="ROOM", help="v1, v1.1, v2, v2-rw, v3, v3.1, v3.2, or path/to/file.py:Class")
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=port, default=8081, help="the port (default: %(default)s; 0: any free one)")
    serve.add_argument("--unlimited", action="store_true", help="switch the room's rate limit off")
    serve.set_defaults(run=run_server)
    return parser


def port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: a number from 0 to 65535")
    return int(text)


def run_server(options) -> None:
    ...
