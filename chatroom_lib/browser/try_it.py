"""The page "Try it": a room that a reader edits, in a scenario, step by step; and the verdicts on it.

Each function returns what JSON can carry. A reader's mistake is no exception: {"error": "line 12: ..."} comes back.
All texts are plain; only the figures and the card are markup, and escape what they contain.
"""

import functools
import inspect
from collections.abc import Callable
from types import ModuleType

from chatroom_lib.browser.figures import figures
from chatroom_lib.browser.try_scenarios import CHOICES, EXAMPLE, SMALL, YOUR_OWN, person, what_happens
from chatroom_lib.browser.typed_code import Mistake, explain, printed, room_of, scenario_of
from chatroom_lib.checker.check import check
from chatroom_lib.checker.guarantees import GUARANTEES, NOT_PROMISED, judge
from chatroom_lib.checker.scenarios import Maker
from chatroom_lib.clients.scenario import Scenario
from chatroom_lib.reference_rooms import REFERENCE_ROOMS
from chatroom_lib.rooms import VERSIONS
from chatroom_lib.rooms.requirements import takes
from chatroom_lib.runs.stepping import step_through
from chatroom_lib.trace import Trace
from chatroom_lib.trace.moments import to_plain

SEEDS = 5  # with which a page checks a room
HANDLER = """from websockets.exceptions import ConnectionClosed

people = set()


async def handler(websocket):
    people.add(websocket)
    try:
        async for frame in websocket:
            for person in list(people):
                await person.send(frame)
    except ConnectionClosed:
        pass
    finally:
        people.discard(websocket)
"""


def starts() -> list[dict[str, str]]:
    """The rooms from which a reader can start: name, title and code. Those that need a NATS server are left out."""
    rooms = {name: room for name, room in (VERSIONS | REFERENCE_ROOMS).items() if not takes(room, "nats")}
    handler = {"name": "a handler of your own", "title": "a function, as most people write one", "code": HANDLER}
    return [*(start(name, inspect.getmodule(room)) for name, room in rooms.items()), handler]


def start(name: str, module: ModuleType) -> dict[str, str]:
    paragraph = " ".join(module.__doc__.partition("\n\n")[0].split())
    title = paragraph.partition(". ")[0].removesuffix(".").removeprefix(f"{name}: ")
    code = inspect.getsource(module).replace(module.__doc__, f"{name}: {title}.", 1)  # how it fails is to be found out
    return {"name": name, "title": title, "code": code}


def scenarios() -> list[dict[str, str]]:
    """What can be chosen: name, what happens, and in which group it is; of the reader's own, an example of its code."""
    text = "What you write yourself, with talker, listener, late_joiner, slow_reader, frozen, vanishing, leaving, ..."
    own = {"name": YOUR_OWN, "text": text, "group": "Yours", "code": EXAMPLE}
    return [*map(choice, SMALL), own, *(choice(name) for name in CHOICES if name not in SMALL)]


def choice(name: str) -> dict[str, str]:
    group = "Small" if name in SMALL else "Longer, of the check"
    return {"name": name, "text": what_happens(CHOICES[name]), "group": group}


def answering(function: Callable[..., dict]) -> Callable[..., dict]:
    """A reader's mistake is an answer, too."""

    @functools.wraps(function)
    def answer(*arguments, **options) -> dict:
        try:
            return function(*arguments, **options)
        except Mistake as mistake:
            return {"error": str(mistake)}

    return answer


@answering
def try_room(code: str, scenario: str, seed: int, own_scenario: str = "") -> dict:
    """What comes of the room in `code` in one of `scenarios()`, and each of its moments (see trace/moments.py).
    `more`: moments that are left out at the end."""
    played = chosen(scenario, own_scenario)
    with printed() as text, room_of(code) as (room, file):
        trace, moments, left_out = step_through(room, played, seed)
        return {
            "room": trace.room,
            "scenario": scenario,
            "seed": seed,
            "code": code.splitlines(),
            **outcome(trace),
            "errors": [explain(error, file) for error in trace.errors],
            "printed": text.getvalue(),
            **to_plain(moments),
            "more": left_out,
            "figures": figures(trace),
        }


def outcome(trace: Trace) -> dict:
    return {
        "ending": trace.ending,
        "duration": round(trace.duration, 6),
        "people": list(map(person, trace.clients)),
        "said": len(trace.of("said")),
        "heard": {name: trace.heard(name) for name in trace.names},
        "evicted": {name: round(time, 6) for name, time in trace.evicted().items()},
        "verdicts": [
            {"guarantee": name, "promise": promise(name), "kept": verdict.kept, "evidence": verdict.evidence}
            for name, verdict in judge(trace).items()
            if verdict.evidence not in NOT_PROMISED
        ],
    }


def promise(guarantee: str) -> str:
    return " ".join(GUARANTEES[guarantee].__doc__.partition("\n\n")[0].split())


def chosen(scenario: str, own_scenario: str) -> Scenario | Maker:
    if scenario == YOUR_OWN:
        return scenario_of(own_scenario)
    if scenario not in CHOICES:
        raise Mistake(f"there is no scenario {scenario!r:.40}")
    return CHOICES[scenario]


@answering
def check_room(code: str, seeds: int = SEEDS, scenario: str | None = None, own_scenario: str = "") -> dict:
    """The scorecard of the room in `code`, in all scenarios of `check`, or in one of `scenarios()`."""
    tried = None if scenario is None else {scenario: chosen(scenario, own_scenario)}
    with room_of(code) as (room, _):
        card = check(room, seeds, scenarios=tried, progress=False)
        broken = {
            name: {
                "broken": score.broken,
                "tested": score.tested,
                "scenario": score.scenario,
                "seed": score.first_seed,
                "evidence": score.evidence,
            }
            for name, score in card.broken.items()
        }
        return {"html": card._repr_html_(), "broken": broken}
