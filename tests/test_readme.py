"""What README.md and the pages beside it show is true."""

import json
import pydoc
import re
from pathlib import Path

import pytest

import chatroom_lib
from chatroom_lib import Message, bench, guarantees, rooms, scenarios
from chatroom_lib.message import decode_reply

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9A-Z]*_*.ipynb"))
YOUR_ROOM = (ROOT / "docs/your_room.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_its_example_runs_and_shows_what_it_says(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(example, {})
    assert "evicted: Cy, Di" in capsys.readouterr().out


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/your_room.md"])
def test_its_links_lead_somewhere(page):
    targets = re.findall(r"\]\((?!http)([^)]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    assert targets and not [to for to in targets if not ((ROOT / page).parent / to.partition("#")[0]).exists()]


def test_its_message_and_its_refusal_are_those_of_the_wire():
    message, refusal = re.findall(r"`(\{\"token\".*?\})`", YOUR_ROOM.partition("What it owes people")[2])[:2]
    assert decode_reply(message) == Message("Ann", "hello") and decode_reply(refusal).refused == "hello"
    assert f"`{message}`" in README


def test_it_names_every_version_in_order():
    assert re.findall(r"^\| \[(v[^\]]+)\]", README, flags=re.MULTILINE) == list(rooms.VERSIONS)


def test_it_leads_to_every_chapter_in_order():
    listed = re.findall(r"^\| \w+ \| \[[^\]]+\]\(notebooks/([^)]+)\)", README, flags=re.MULTILINE)
    assert listed == [path.name for path in CHAPTERS]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_it_has_the_title_and_the_question_of_each_chapter(path):
    start = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    number, title, question = re.match(r"# (\w+) · (.+)\n\n\*\*(.+)\*\*\n", start).groups()
    number = f"{int(number):02}" if number.isdigit() else number
    assert f"| {number} | [{title}](notebooks/{path.name}) | {question} |" in README


@pytest.mark.parametrize("text", [README, YOUR_ROOM], ids=["README", "your_room"])
def test_it_counts_what_a_check_consists_of(text):
    names = (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
        " seventeen eighteen nineteen twenty twenty-one twenty-two twenty-three twenty-four"
    ).split()
    counted = re.search(r"in ([\w-]+) scenarios with .*?which of ([\w-]+)\s\[?guarantees", text, flags=re.DOTALL)
    assert [names.index(word) for word in counted.groups()] == [len(scenarios.SCENARIOS), len(guarantees.GUARANTEES)]


def test_how_fast_it_says_v4_is_was_measured():
    report = bench.Report.from_dict(json.loads((ROOT / "benchmarks/results.json").read_text(encoding="utf-8")))
    said = re.findall(r"\d+\.\d+", README.partition("## How fast")[2].partition("##")[0])
    busy, few, quiet = bench.Load(200, 8), bench.Load(10, 16), bench.Load(10, 1)
    deliveries = "deliveries_per_second"
    assert said == [
        f"{report.median(busy, 'v4', deliveries) / 1e6:.1f}",
        f"{report.ratio(busy, 'v4', deliveries):.1f}",
        *(f"{report.ratio(load, 'v4', deliveries, to='uWebSockets'):.1f}" for load in (busy, few)),
        f"{report.ratio(quiet, 'v4', 'p50_ms', to='uWebSockets'):.1f}",
    ]


def test_contributors_are_told_where_every_package_is():
    where = CONTRIBUTING.partition("## The house")[2].partition("Imports point")[0]
    packages = [path.parent.name for path in (ROOT / "chatroom_lib").glob("*/__init__.py")]
    assert len(packages) > 10 and not [name for name in packages if f"{name}/" not in where]


def test_it_is_short():
    assert len(README.splitlines()) < 120


def test_help_of_the_package_is_one_screen_and_names_everything_in_it():
    text = pydoc.render_doc(chatroom_lib, renderer=pydoc.plaintext)
    assert len(text.splitlines()) < 60
    assert not [name for name in chatroom_lib.__all__ if not re.search(rf"\b{name}\b", text)]


def test_import_star_brings_what_help_names():
    brought = {}
    exec("from chatroom_lib import *", brought)
    assert {"simulate", "plots", "show"} <= set(brought) == {*dir(chatroom_lib), "__builtins__"}


def test_it_says_how_long_the_longest_version_is():
    lengths = [
        len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "chatroom_lib/rooms").glob("v*.py")
    ]
    assert f"to {max(lengths)} lines with its docstring" in README
    assert f" {max(lengths)})" in CONTRIBUTING
