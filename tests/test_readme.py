"""What README.md shows is true."""

import re
from pathlib import Path

from chatroom_lib import rooms

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_example_runs_and_shows_what_it_says(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(example, {})
    assert "evicted: Cy, Di" in capsys.readouterr().out


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_it_names_every_version_in_order():
    assert re.findall(r"^\| \[(v[^\]]+)\]", README, flags=re.MULTILINE) == list(rooms.VERSIONS)


def test_it_is_short():
    assert len(README.splitlines()) < 120
