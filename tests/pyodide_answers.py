"""What test_pyodide.py has Python for the browser do. Run there, from the library as the book's pages have it."""

import asyncio
import contextlib
import importlib
import inspect
import io
import threading
from collections.abc import Callable

import chatroom_lib
from chatroom_lib import (
    Scenario,
    Server,
    bench,
    chat,
    check,
    check_server,
    dashboard,
    listener,
    live,
    rooms,
    run,
    serve,
    simulate,
    stop_all,
    talker,
)
from chatroom_lib.browser.dependencies import names_in
from chatroom_lib.checker.guarantees import judge
from chatroom_lib.checker.scenarios import SCENARIOS
from chatroom_lib.reference_rooms import REFERENCE_ROOMS
from chatroom_lib.runtime.platform import NotHere

PEOPLE = Scenario([talker("Ann"), listener("Bob")])


class StartsAThread(rooms.resolve("v1")):
    async def handle(self, connection):
        threading.Thread(target=print).start()


async def answers(
    seed: int, runs: list[tuple], few: list[str], exercises: list[tuple], cells: list[str], imports: list[str]
) -> dict:
    card = check("v1.1", 2, scenarios={name: SCENARIOS[name] for name in few}, progress=False)
    return {
        "runs": {f"{room}, {scenario}": tried(room, scenario, seed) for room, scenario in runs},
        "card": card.as_dict(),
        "shortest": card.shortest("no-leak", progress=False).digest(),
        "exercises": [told(*exercise) for exercise in exercises],
        "names": [list(map(sorted, names_in(code))) for code in cells],
        "imports": {line: cannot_be_made for line in imports if (cannot_be_made := error_of(line))},
        "missing": [name for name in chatroom_lib.__all__ if not hasattr(chatroom_lib, name)],
        "refused": {
            "serve()": await refused(lambda: serve("v1")),
            "live()": await refused(lambda: live("v1", PEOPLE)),
            "Server.start()": await refused(Server("v1").start),
            "stop_all()": await refused(stop_all),
            "run()": await refused(lambda: run(asyncio.sleep(0))),
            "dashboard()": await refused(lambda: dashboard(Server("v1"))),
            "chat": await refused(chat),
            "check_server": await refused(check_server),
            "measure": await refused(lambda: bench.measure("v1")),
        },
        "thread": [str(error) for error in simulate(StartsAThread, PEOPLE).errors][:1],
        "afterwards": await asyncio.create_task(asyncio.sleep(0, "the loop goes on")),
    }


def tried(room: str, scenario: str, seed: int) -> dict:
    trace = simulate(REFERENCE_ROOMS.get(room, room), SCENARIOS[scenario], seed)
    return {"digest": trace.digest(), "ending": trace.ending, "verdicts": judge(trace)}


def told(chapter: str, solutions: str, checks: tuple[str, ...]) -> tuple[list[bool], str]:
    """Which of the first exercises of a chapter are solved, and what is printed."""
    names, module = {"__name__": "__main__"}, importlib.import_module(f"exercises.chapter_{chapter}")
    exec(solutions, names)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        solved = [getattr(module, check)(names[f"Room{number}"]) for number, check in enumerate(checks, 1)]
    return solved, printed.getvalue()


def error_of(line: str) -> str | None:
    try:
        exec(line, {})
    except ImportError as error:
        return str(error)


async def refused(call: Callable) -> str | None:
    try:
        if inspect.isawaitable(result := call()):
            await result
    except NotHere as error:
        return str(error)
