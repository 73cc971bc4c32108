"""Each version is everywhere that a version must be. What a new one still lacks, these tests name (CONTRIBUTING.md)."""

import inspect
import re
from pathlib import Path

import pytest

from chatroom_lib.plots.style import COLOURS
from chatroom_lib.rooms import VERSIONS
from tests.test_check import BROKEN

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
METHODS = ["__aenter__", "__aexit__", "handle", "members"]
each_version = pytest.mark.parametrize("version", VERSIONS)


def module_of(version: str):
    return inspect.getmodule(VERSIONS[version])


def file_of(version: str) -> str:
    return f"chatroom_lib/rooms/{re.sub('[.-]', '_', version)}.py"


@each_version
def test_it_is_the_class_room_in_a_file_called_as_the_version_is(version):
    room = VERSIONS[version]
    file = Path(inspect.getsourcefile(room)).relative_to(ROOT).as_posix()
    assert file == file_of(version), f"{version} is in {file}: put it into {file_of(version)}"
    assert room.__name__ == "Room", f"{file}: call the class Room, not {room.__name__}"


@each_version
def test_it_has_the_methods_of_a_room_in_their_order(version):
    methods = [name for name in vars(VERSIONS[version]) if name in METHODS]
    assert methods == METHODS, f"{file_of(version)}: Room needs the methods {', '.join(METHODS)}, in this order"


@each_version
def test_it_stands_alone(version):
    """A reader sees the whole room in one file, and `diff` what has changed."""
    assert VERSIONS[version].__bases__ == (object,), f"{file_of(version)}: Room must not inherit; copy what it needs"
    imported = re.findall(
        r"^ *(?:from|import) chatroom_lib\.rooms.*", inspect.getsource(module_of(version)), re.MULTILINE
    )
    assert not imported, f"{file_of(version)}: copy what you need instead of {imported[0].strip()!r}"


@each_version
def test_its_docstring_says_what_it_changes_and_how_it_fails(version):
    file, docstring = file_of(version), module_of(version).__doc__ or ""
    first_line = rf"{re.escape(version)}: \w.*\.\n"
    assert re.match(first_line, docstring), f'{file}: begin the docstring with "{version}: ", its idea, and a full stop'
    wanted = ["How it fails"] if version == next(iter(VERSIONS)) else ["What changed since v", "How it fails"]
    for part in wanted:
        assert re.search(rf"^{part}.*\n- ", docstring, re.MULTILINE), f'{file}: the docstring needs a list "{part}..."'


@each_version
def test_readme_has_a_row_for_it(version):
    link = f"| [{version}]({file_of(version)}) |"
    row = re.search(rf"^{re.escape(link)} [^|]*\w[^|]* \| [^|]*\w[^|]* \|$", README, re.MULTILINE)
    assert row, f"README.md: add to the table of versions the row {link} its idea | how it fails |"


@each_version
def test_it_has_a_colour_of_its_own(version):
    assert version in COLOURS, f"chatroom_lib/plots/style.py: add {version!r} to COLOURS"
    same = [other for other in COLOURS if other != version and COLOURS[other].upper() == COLOURS[version].upper()]
    assert not same, f"chatroom_lib/plots/style.py: {version} has the colour of {same[0]}; give it one of its own"


@each_version
def test_what_it_breaks_is_written_down(version):
    what = f"the guarantees that it breaks, which `chatroom check {version}` shows"
    assert version in BROKEN, f"tests/test_check.py: add {version!r} to BROKEN, with {what}"
