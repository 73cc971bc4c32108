"""What README.md shows is true."""

import pydoc
import re
from pathlib import Path

import chatroom_lib
from chatroom_lib import Message, guarantees, rooms, scenarios
from chatroom_lib.message import decode_reply

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_example_runs_and_shows_what_it_says(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(example, {})
    assert "evicted: Cy, Di" in capsys.readouterr().out


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target.partition("#")[0]).exists(), target


def test_its_message_and_its_refusal_are_those_of_the_wire():
    message, refusal = re.findall(r"`(\{\"token\".*?\})`", README.partition("What it owes people")[2])[:2]
    assert decode_reply(message) == Message("Ann", "hello") and decode_reply(refusal).refused == "hello"


def test_it_names_every_version_in_order():
    assert re.findall(r"^\| \[(v[^\]]+)\]", README, flags=re.MULTILINE) == list(rooms.VERSIONS)


def test_it_counts_what_a_check_consists_of():
    numbers = {
        word: number for number, word in enumerate("zero one two three four five six seven eight nine ten".split())
    }
    numbers |= {"eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15}
    counted = re.search(r"in (\w+) scenarios with .* which of (\w+) guarantees", README)
    assert [numbers[word] for word in counted.groups()] == [len(scenarios.SCENARIOS), len(guarantees.GUARANTEES)]


def test_it_says_where_every_package_is():
    where = README.partition("## Where things are")[2].partition("##")[0]
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
