"""What the page "Try it" asks for: plain data, also for whatever a reader may have typed."""

import json

import pytest

from chatroom_lib import simulate
from chatroom_lib.browser import try_it
from chatroom_lib.browser.try_it import check_room, scenarios, starts, try_room
from chatroom_lib.browser.try_scenarios import CHOICES, EXAMPLE, SMALL, YOUR_OWN
from chatroom_lib.checker.scenarios import SCENARIOS

DYING = "Bob freezes, then dies"
CODE = {start["name"]: start["code"] for start in starts()}
HANDLER = """
connected = set()

async def tell(message):
    for other in list(connected):
        await other.send(message)

async def handler(websocket):
    connected.add(websocket)
    try:
        async for message in websocket:
            await tell(message)
    finally:
        connected.discard(websocket)
"""


def room(start: str) -> str:
    """The code of a room that does nothing."""
    return f"""class Room:
{start}    async def handle(self, connection): pass
    async def __aenter__(self): return self
    async def __aexit__(self, *exc): pass
    def members(self): return []
"""


def verdicts(result: dict) -> dict[str, bool | None]:
    return {verdict["guarantee"]: verdict["kept"] for verdict in result["verdicts"]}


def test_a_reader_can_start_from_every_room_that_needs_nothing_else():
    assert {"v1", "v1.1", "v2", "v3.1", "v8", "FastAPIManager", "BoundedBroadcast"} <= CODE.keys()
    assert not {"v9.1", "RelayCore"} & CODE.keys()
    titles = {start["name"]: start["title"] for start in starts()}
    assert titles["v1.1"] == "remove clients that cannot be reached; nobody waits for a broadcast"
    assert all("\n" not in title and title for title in titles.values())


@pytest.fixture
def no_figures(monkeypatch):
    """They take most of the time."""
    monkeypatch.setattr(try_it, "figures", lambda trace: {})


@pytest.mark.parametrize("name", CODE)
def test_every_start_runs_as_it_is(name, no_figures):
    result = try_room(CODE[name], DYING, 0)
    assert "error" not in result and not result["errors"] and result["moments"]
    json.dumps(result, allow_nan=False)


def test_scenarios_say_what_happens():
    found = {scenario["name"]: scenario for scenario in scenarios()}
    assert list(found)[0] == DYING and {YOUR_OWN, *SMALL, *SCENARIOS} == found.keys()
    assert all(scenario["text"].endswith(".") for scenario in scenarios())


@pytest.mark.parametrize("name", [name for name in SMALL if name != DYING])
def test_every_small_scenario_can_be_stepped_through_to_its_end(name, no_figures):
    for room in ("v1.1", "v3"):
        result = try_room(CODE[room], name, 2)
        assert result["more"] == 0 and 20 < len(result["moments"]) < 1000


def test_v1_1_evicts_cy_and_the_others_evict_nobody(no_figures):
    results = {name: try_room(CODE[name], DYING, 0) for name in ("v1.1", "v2", "v4", "BoundedBroadcast")}
    assert {name: list(result["evicted"]) for name, result in results.items()} == {
        "v1.1": ["Cy"],
        "v2": [],
        "v4": [],
        "BoundedBroadcast": [],
    }
    assert {name: verdicts(result)["no-false-eviction"] for name, result in results.items()} == {
        "v1.1": False,
        "v2": True,
        "v4": True,
        "BoundedBroadcast": True,
    }


def test_what_a_room_prints_is_told_up_to_a_limit(no_figures, capsys):
    code = CODE["v1"].replace("frame = encode(message)", "frame = encode(message); print('reading', message.token)")
    assert try_room(code, DYING, 0)["printed"].startswith("reading Ann\nreading Ann\n")
    assert len(try_room(f"print('x' * 100_000)\nprint('y')\n{CODE['v1']}", DYING, 0)["printed"]) == 10_000
    assert capsys.readouterr().out == ""


def test_the_seed_decides_who_is_evicted_and_says_when_bob_dies(no_figures):
    results = [try_room(CODE["v1.1"], DYING, seed) for seed in range(6)]
    assert {tuple(result["evicted"]) for result in results} == {(), ("Cy",), ("Cy", "Di")}
    assert {"name": "Bob", "does": "does not read, is killed at 10 s"} in results[0]["people"]


def test_the_result_tells_the_run_that_simulate_makes():
    result, trace = try_room(CODE["v1.1"], DYING, 0), simulate("v1.1", CHOICES[DYING], 0)
    assert result["heard"] == {name: trace.heard(name) for name in trace.names} and result["said"] == 6
    assert result["ending"] == trace.ending and result["duration"] == round(trace.duration, 6)
    told = [(event["kind"], event["who"]) for moment in result["moments"] for event in moment["events"]]
    assert sorted(told) == sorted((event.kind, event.who) for event in trace.events)
    assert result["code"] == CODE["v1.1"].splitlines() and len(json.dumps(result)) < 300_000
    lines = {call["line"] for state in result["states"] for call in state["calls"]}
    assert {result["code"][line - 1].strip() for line in lines} >= {"await connection.send(frame)"}


def test_figures_are_markup_and_the_diagram_is_left_out_if_it_were_too_full():
    small, large = try_room(CODE["v1"], DYING, 0)["figures"], try_room(CODE["v1"], "churn", 1)["figures"]
    assert all("<svg" in small[name] for name in ("heard", "pool", "space_time"))
    assert large["space_time"] is None and "<svg" in large["heard"]


def test_a_handler_is_a_room_and_its_helpers_are_none():
    result = try_room(HANDLER, DYING, 0)
    assert result["room"] == "handler" and result["heard"]["Cy"]
    functions = [[call["function"] for call in state["calls"]] for state in result["states"]]
    assert ["handler", "tell"] in functions
    assert {"connected": "{Ann, Bob, Cy, Di}"} in [moment.get("room") for moment in result["moments"]]


def test_a_reader_may_write_the_scenario():
    result = try_room(CODE["v1"], YOUR_OWN, 0, EXAMPLE)
    assert [person["name"] for person in result["people"]] == ["Ann", "Bob", "Cy", "Di"]


@pytest.mark.parametrize(
    "code, error",
    [
        ("x = 1\ndef f(:\n", "line 2: SyntaxError: invalid syntax"),
        ("\n\nimport nowhere\n", "line 3: ModuleNotFoundError: No module named 'nowhere'"),
        ("raise SystemExit(3)", "line 1: SystemExit: 3"),
        ("x = '\0'", "SyntaxError: source code string cannot contain null bytes"),
        ("x = '\ud800'", "UnicodeEncodeError"),
        ("", "there is no room in this code: write a class Room with a method handle, or async def handler(websocket)"),
        ("x = 1\n", "there is no room in this code"),
        (room("").replace("def members", "def others"), "Room is not a room: it lacks members"),
        (
            room("").replace("Room", "A") + room("").replace("Room", "B"),
            "several rooms in this code, A, B: call the one",
        ),
    ],
)
def test_a_mistake_in_the_code_is_one_line_that_says_where(code, error):
    for answer in (try_room(code, DYING, 0), check_room(code, 1, DYING)):
        assert list(answer) == ["error"] and error in answer["error"]
        assert "\n" not in answer["error"] and "/" not in answer["error"]


@pytest.mark.parametrize(
    "code, error",
    [
        (room("    def __init__(self):\n        self.size = 1 / 0\n"), "line 3: ZeroDivisionError: division by zero"),
        (room("    def __init__(self, size):\n        pass\n"), "missing a required argument: 'size'"),
        (room("").replace("return self", "await nothing"), "line 3: NameError: name 'nothing' is not defined"),
        (room("").replace("return []", "return [][1]"), "line 5: IndexError: list index out of range"),
        (room("").replace("return []", "return 7"), "members() must list connections, and returned 7"),
    ],
)
def test_a_room_that_cannot_run_is_one_line_that_says_where(code, error):
    answer = try_room(code, DYING, 0)
    assert list(answer) == ["error"] and error in answer["error"] and "\n" not in answer["error"]


def test_an_error_while_the_room_runs_is_told_with_its_line():
    code = CODE["v1.1"].replace("frame = encode(message)", "frame = encode(message) + 1")
    place = code[: code.index("+ 1")].count("\n") + 1
    result = try_room(code, DYING, 0)
    assert result["errors"][0].startswith(f"line {place}: TypeError") and verdicts(result)["no-crash"] is False


@pytest.mark.parametrize(
    "code, error",
    [
        ("Scenario([talker('Ann')\n", "the scenario, line 1: SyntaxError: '[' was never closed"),
        ("Scenario(\n[talkr('Ann')])", "the scenario, line 2: NameError: name 'talkr' is not defined"),
        ("Scenario([talker('Ann', says=-1)])", "the scenario, line 1: ValueError: Ann: times, counts and sizes"),
        ("[talker('Ann')]", "the scenario must be a Scenario([talker(...), ...]), not list"),
        ("", "the scenario, line "),
        ("Scenario([])", "there is nobody in the scenario"),
    ],
)
def test_a_mistake_in_the_scenario_is_one_line_that_says_where(code, error):
    answer = try_room(CODE["v1"], YOUR_OWN, 1, code)
    assert list(answer) == ["error"] and error in answer["error"]


def test_an_unknown_scenario_is_a_mistake():
    assert try_room(CODE["v1"], "nowhere", 1) == {"error": "there is no scenario 'nowhere'"}


def test_texts_are_plain_and_the_card_escapes():
    code = CODE["v1.1"].replace("failed_sends = 0", "failed_sends = '<b>bold</b>'")
    result = try_room(code, YOUR_OWN, 1, "Scenario([talker('<i>Ann</i>', says=2), listener('Cy')])")
    assert "'<b>bold</b>'" in result["moments"][0]["room"].values()  # as it is: a page shows it as text
    assert "<i>Ann" not in result["figures"]["heard"] and "&lt;i&gt;Ann" in result["figures"]["heard"]


@pytest.mark.slow
def test_a_check_gives_a_card_and_what_is_broken():
    answer = check_room(CODE["v1.1"], 2, DYING)
    assert answer["html"].startswith("<") and {"delivery", "no-false-eviction"} <= answer["broken"].keys()
    score = answer["broken"]["no-false-eviction"]
    assert (score["broken"], score["scenario"], score["seed"]) == (1, DYING, 0) and "Cy" in score["evidence"]
    assert "error" in check_room(CODE["v1.1"], 0)
    json.dumps(answer)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v1.1", "v6"])
def test_what_a_check_finds_can_be_stepped_through(name, no_figures):
    broken = check_room(CODE[name], 1)["broken"]
    assert broken
    for guarantee, score in broken.items():
        verdicts = try_room(CODE[name], score["scenario"], score["seed"])["verdicts"]
        found = {each["guarantee"]: each["evidence"] for each in verdicts if each["kept"] is False}
        assert guarantee in found
        if guarantee != "bounded-memory":  # whose evidence counts objects of a process, and these are two
            assert found[guarantee] == score["evidence"]


def test_a_page_checks_with_few_seeds():
    assert try_it.SEEDS == 5
