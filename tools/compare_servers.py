"""`make compare`: try the well-known examples of other projects, into docs/servers.json and docs/servers.md.

    python tools/compare_servers.py --only gorilla_chat --rounds 1
    python tools/compare_servers.py --render      make the page anew from docs/servers.json, and try nothing

A server's results are written as soon as it has been tried; those of all others stay as they were, and so does
everything after an interrupt.
"""

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path

from chatroom_lib import check_server
from chatroom_lib.bench.packages import (
    GO_FOLDER,
    node_environment,
    version_for_go,
    version_for_node,
    version_for_python,
)
from chatroom_lib.checker.guarantees import GUARANTEES
from chatroom_lib.checker.scorecard import KEPT_MARK, NOT_TESTED_MARK, Scorecard
from chatroom_lib.runtime.addresses import free_port
from chatroom_lib.server.server import ServerError

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = "chatroom_lib/reference_servers"  # below ROOT
RESULTS, PAGE = ROOT / "docs/servers.json", ROOT / "docs/servers.md"
SHOWN_PORT = 8081  # in commands; each run has a free one
GO = f"GO111MODULE=off GOPATH={GO_FOLDER} go run"
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&!])")  # what means something in Markdown or HTML
INTRODUCTION = """# Well-known servers, tried from outside

What `make compare` found, written by [compare_servers.py](../tools/compare_servers.py). Each server is a small program
after the chat or broadcast example in its project's own documentation, and runs as that tells it: keepalive, limits and
compression are those of the example, or else the library's defaults. Each program names the page that it follows, and
what it leaves out or adds. Each was tried by [its address](any_server.md), and started anew for each scenario.

They are examples. Some of their authors call them minimal, simplified or naive; they show how a library is used, and
not what can be built with it. What cannot be seen from outside is not tested. Timing on sockets is never the same
twice: what breaks in one run of a hundred may well be ✓ here.

To repeat one, run its command in this project's folder, with `.venv` active and `make extras` done.
"""


@dataclass(frozen=True)
class Example:
    """A program in PROGRAMS, and how people speak to it."""

    title: str
    file: str
    version: Callable[[], str]  # raises LookupError, which says what to install
    path: str = "/"
    options: dict = field(default_factory=dict)  # for check_server
    remark: str = ""  # what the example is meant to do, though a guarantee asks for something else

    @property
    def name(self) -> str:
        return self.file.partition(".")[0]

    def command(self, port: int, python: str = "python") -> str:
        """For a shell, in the folder ROOT."""
        runner = {".py": python, ".js": "node", ".go": GO}[Path(self.file).suffix]
        return f"{runner} {PROGRAMS}/{self.file} {port}"

    def url(self, port: int) -> str:
        return f"ws://127.0.0.1:{port}{self.path}"

    def repeat(self, rounds: int) -> str:
        """The command line that tries it again."""
        words = ["chatroom", "check", self.url(SHOWN_PORT)]
        for name, value in self.options.items():
            value = ",".join([value["name"], value["text"]]) if name == "fields" else value
            words += [f"--{name}", shlex.quote(value)]
        return f"{' '.join(words)} --rounds {rounds} \\\n  --command {shlex.quote(self.command(SHOWN_PORT))}"


def python_versions(*packages: str, library: str = "") -> str:
    return ", ".join(f"{package} {version_for_python(package, library)}" for package in packages)


def node_version(package: str) -> str:
    return f"{package} {version_for_node(package)}"


def go_version() -> str:
    return f"gorilla/websocket {version_for_go()}"


TEXT = {"wire": "text"}
WEBSOCKETS = partial(python_versions, "websockets")
EXAMPLES = {
    example.name: example
    for example in (
        Example("websockets, broadcast", "websockets_broadcast.py", WEBSOCKETS, options=TEXT),
        Example("websockets, the naive way", "websockets_naive.py", WEBSOCKETS, options=TEXT),
        Example("websockets, per-client queues", "websockets_queues.py", WEBSOCKETS, options=TEXT),
        Example("FastAPI", "fastapi_manager.py", partial(python_versions, "fastapi", "uvicorn", "websockets"), "/ws/1",
                TEXT),
        Example("aiohttp", "aiohttp_chat.py", partial(python_versions, "aiohttp"), options=TEXT,
                remark="It sends to all but the speaker, on purpose; `delivery` asks for the speaker, too."),
        Example("Tornado", "tornado_chat.py", partial(python_versions, "tornado"), "/chatsocket",
                {"wire": "json", "fields": {"name": "name", "text": "body"}}),
        Example("python-socketio", "socketio_python.py", partial(python_versions, "python-socketio", "uvicorn"),
                "/socket.io/",
                {"wire": "socketio", "event": "my_broadcast_event", "fields": {"name": "name", "text": "data"}}),
        Example("Socket.IO", "socketio_chat.js", partial(node_version, "socket.io"), "/socket.io/",
                {"wire": "socketio", "event": "chat message"}),
        Example("ws", "ws_broadcast.js", partial(node_version, "ws"), options=TEXT),
        Example("gorilla", "gorilla_chat.go", go_version, "/ws", TEXT),
        Example("uWebSockets, socketify", "socketify_broadcast.py",
                partial(python_versions, "socketify", library="libuv"), options=TEXT),
    )
}  # fmt: skip


# ---------------------------------------------------------------- trying


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    os.chdir(ROOT)
    os.environ["NODE_PATH"] = node_environment()["NODE_PATH"]
    try:
        for name in [] if options.render else options.only or EXAMPLES:
            if entry := tried(EXAMPLES[name], options.rounds):
                write(RESULTS, json.dumps({**results(), name: entry}, indent=1, ensure_ascii=False) + "\n")
    except KeyboardInterrupt:
        print("cut short: what was tried so far is in docs/servers.json", file=sys.stderr)
        return 130
    finally:
        write(PAGE, page(results()))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Try the well-known examples of other projects from outside.")
    parser.add_argument("--only", action="append", choices=EXAMPLES, metavar="NAME", help=f"of {', '.join(EXAMPLES)}")
    parser.add_argument("--rounds", type=int, default=2, help="how often each scenario is played (default: 2)")
    parser.add_argument("--render", action="store_true", help="only make the page anew from docs/servers.json")
    return parser.parse_args(arguments)


def tried(example: Example, rounds: int) -> dict | None:
    """What is kept of a server that was tried; None if it is not installed."""
    try:
        versions = example.version()
    except LookupError as error:
        print(f"{example.title}: left out, {error}")
        return None
    port = free_port()
    command = example.command(port, shlex.quote(sys.executable))
    about = {"versions": versions, "day": date.today().isoformat(), "rounds": rounds}
    print(f"{example.title} ({versions})", flush=True)
    try:
        card = check_server(example.url(port), rounds, command=command, **example.options)
    except ServerError as error:
        print(f"  not judged: {error}")
        return anonymous({**about, "error": str(error)}, port)
    print(f"  breaks {', '.join(card.broken) or 'nothing'}", flush=True)
    return anonymous({**about, "notes": dict(card.notes), "card": shortened(card)}, port)


def shortened(card: Scorecard) -> dict:
    """The card as a dict, without what is empty, and without the scenarios in which nothing is broken."""
    whole = card.as_dict()
    cells = {name: {where: slim(cell) for where, cell in row.items() if cell["broken"]}
             for name, row in whole["cells"].items()}  # fmt: skip
    scores = {name: slim(score) for name, score in whole["guarantees"].items()}
    return {
        "guarantees": scores,
        "cells": {name: row for name, row in cells.items() if row},
        "not judged": not_judged(whole),
    }


def not_judged(card: dict) -> dict[str, str]:
    """Why nothing could be said about a run, for each scenario of which there is such a run."""
    return {scenario: card["cells"]["delivery"][scenario]["untested"] or "" for scenario in card["failed"]}


def slim(score: dict) -> dict:
    return {name: value for name, value in score.items() if value is not None}


def anonymous(entry: dict, port: int) -> dict:
    """Without this run's port, and without where this folder and this Python are."""
    text = json.dumps(entry, ensure_ascii=False).replace(f":{port}", f":{SHOWN_PORT}")
    for path, instead in ((sys.executable, "python"), (f"{ROOT}/", ""), (str(Path.home()), "~")):
        text = text.replace(json.dumps(path, ensure_ascii=False)[1:-1], instead)
    return json.loads(text)


def results() -> dict[str, dict]:
    """By name, in the order of EXAMPLES."""
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return {name: found[name] for name in EXAMPLES if name in found}


def write(path: Path, text: str) -> None:
    """All at once, so that no half of it is left by whatever happens meanwhile."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)


# ---------------------------------------------------------------- the page


def page(found: dict[str, dict]) -> str:
    """In Markdown. `found`: what docs/servers.json has."""
    parts = [INTRODUCTION, listing(found), table(found)]
    parts += [section(EXAMPLES[name], entry, in_table(found)) for name, entry in found.items()]
    return "\n".join(parts)


def listing(found: dict[str, dict]) -> str:
    """The numbers of the table's columns."""
    return "\n".join(
        f"{number}. [{EXAMPLES[name].title}](#{anchor(EXAMPLES[name].title)}): {plain(entry['versions'])}"
        for number, (name, entry) in enumerate(found.items(), 1)
    ) + "\n"  # fmt: skip


def anchor(title: str) -> str:
    """Of a heading, as GitHub and the book make it."""
    return re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")


def table(found: dict[str, dict]) -> str:
    scores = [entry.get("card", {}).get("guarantees", {}) for entry in found.values()]
    shown = in_table(found)
    numbers = [str(number) for number in range(1, len(found) + 1)]
    rows = [["", *numbers], ["---", *[":-:"] * len(numbers)]]
    rows += [[f"`{name}`", *(mark(each.get(name, {})) for each in scores)] for name in shown]
    legend = f"{KEPT_MARK} kept, {NOT_TESTED_MARK} not tested, a number: in so many rounds it was broken. "
    legend += "[What each guarantee promises](api.md). The others cannot be seen from outside, or take minutes."
    return "\n".join([*("| " + " | ".join(row) + " |" for row in rows), "", legend, ""])


def in_table(found: dict[str, dict]) -> list[str]:
    """The guarantees for which at least one server could be tested."""
    scores = [entry.get("card", {}).get("guarantees", {}) for entry in found.values()]
    return [name for name in GUARANTEES if any(each.get(name, {}).get("tested") for each in scores)]


def mark(score: dict) -> str:
    if not score.get("tested"):
        return NOT_TESTED_MARK
    return f"**{score['broken']}**" if score["broken"] else KEPT_MARK


def section(example: Example, entry: dict, shown: list[str]) -> str:
    """A short paragraph on one server."""
    rounds = f"{entry['rounds']} round{'s' * (entry['rounds'] != 1)}"
    about = [f"[The program](../{PROGRAMS}/{example.file}), {plain(entry['versions'])}, {rounds} on {entry['day']}."]
    about += [f"{plain(why[0].upper() + why[1:])}." for why in entry.get("notes", {}).values()]
    about += [example.remark] if example.remark else []
    repeat = ["```", example.repeat(entry["rounds"]), "```", ""]
    remarks = list(found_out(entry, shown))
    return "\n".join([f"## {example.title}", "", " ".join(about), "", *repeat, *remarks, *[""] * bool(remarks)])


def found_out(entry: dict, shown: list[str]) -> Iterator[str]:
    """The evidence for what it breaks, and why something could not be tested that others were tested for."""
    if "error" in entry:
        yield f"- Not judged: {plain(entry['error'])}"
        return
    for name, score in entry["card"]["guarantees"].items():
        if score["broken"]:
            cells = entry["card"]["cells"][name]
            where = f"round {score['first_seed'] + 1}, {score['scenario']}"
            others = [other for other in cells if other != score["scenario"]]
            also = f"; also in {', '.join(map(plain, others))}" if others else ""
            yield f"- `{name}`: {plain(score['evidence'])} ({plain(where)}{also})"
        elif not score["tested"] and name in shown:
            yield f"- `{name}` is not tested: {plain(score.get('untested', ''))}"
    for scenario, why in entry["card"]["not judged"].items():
        yield f"- Not judged in {plain(scenario)}: {plain(why)}"


def plain(text: str) -> str:
    """One line of text, in which nothing is markup, whatever a server has sent."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
