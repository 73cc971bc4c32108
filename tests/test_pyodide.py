"""Python for the browser, in Node: the same seed gives the same run there, and the same verdicts."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import websockets

from chatroom_lib import check, rooms, scenarios, simulate
from chatroom_lib.checker.guarantees import judge
from chatroom_lib.reference_rooms import REFERENCE_ROOMS
from chatroom_lib.rooms.requirements import takes
from tests.helpers import TIMEOUT_FACTOR, for_one_server, pyodide_folder

ROOT = Path(__file__).parent.parent
SEED = 1
PLAIN = (
    "healthy",
    "churn",
    "frozen then dies",
    "slow reader",
    "late joiner",
    "stillborn",
)  # for rooms without a history
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pyodide"), pytest.mark.timeout(300 * TIMEOUT_FACTOR)]

QUESTIONS = """
import json
from chatroom_lib import check, simulate
from chatroom_lib.checker.guarantees import judge
from chatroom_lib.checker.scenarios import SCENARIOS
from chatroom_lib.reference_rooms import REFERENCE_ROOMS

def one(room, scenario):
    trace = simulate(REFERENCE_ROOMS.get(room, room), SCENARIOS[scenario], SEED)
    return [trace.digest(), trace.ending, judge(trace)]

answers = {f"{room}, {scenario}": one(room, scenario) for room, scenario in json.loads(RUNS)}
few = {name: SCENARIOS[name] for name in json.loads(FEW)}
card = check("v1.1", 2, scenarios=few, progress=False)
shortest = card.shortest("no-leak", progress=False).digest()
print(json.dumps({"runs": answers, "card": card.as_dict(), "shortest": shortest}))
"""


def runs() -> list[tuple[str, str]]:
    """One for each room that needs nothing else, and each scenario that fits it and is short. Those that ping are left
    out: how many steps a timeout of asyncio's takes depends on the version of Python."""
    all_rooms = {name: room for name, room in {**rooms.VERSIONS, **REFERENCE_ROOMS}.items() if not takes(room, "nats")}
    pinging = [name for name, room in all_rooms.items() if "ping_interval" in getattr(room, "server_options", {})]
    kept = for_one_server("storm of 200", "lost disk")
    scenarios_for = {name: kept if takes(room, "path") else PLAIN for name, room in all_rooms.items()}
    return [(name, each) for name in all_rooms if name not in pinging for each in scenarios_for[name]]


FEW = ("healthy", "frozen reader", "mass leave")


@pytest.fixture(scope="module")
def answers() -> dict:
    pyodide = pyodide_folder()
    libraries = Path(websockets.__file__).parent.parent
    given = f"SEED = {SEED}\nRUNS = {json.dumps(json.dumps(runs()))}\nFEW = {json.dumps(json.dumps(FEW))}\n"
    command = ["node", str(ROOT / "tests/pyodide_runner.mjs"), str(pyodide), str(ROOT), str(libraries)]
    done = subprocess.run(
        command, input=given + QUESTIONS, capture_output=True, text=True, env={**os.environ, "NODE_OPTIONS": ""}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_same_seed_gives_the_same_run_and_the_same_verdicts_in_a_browsers_python(answers):
    assert len(runs()) > 100
    for room, scenario in runs():
        trace = simulate(REFERENCE_ROOMS.get(room, room), scenarios.SCENARIOS[scenario], SEED)
        here = json.loads(json.dumps([trace.digest(), trace.ending, judge(trace)]))
        assert answers["runs"][f"{room}, {scenario}"] == here, (room, scenario)


def test_a_scorecard_is_the_same_in_a_browsers_python(answers):
    few = {name: scenarios.SCENARIOS[name] for name in FEW}
    card = check("v1.1", 2, scenarios=few, progress=False)
    assert answers["card"] == json.loads(json.dumps(card.as_dict()))
    assert answers["shortest"] == card.shortest("no-leak", progress=False).digest()
