"""Whose code is it, the room's or that of what stands around it?"""

import asyncio
import contextlib
import importlib.util
import json
from pathlib import Path

import pytest
import websockets

import chatroom_lib
from chatroom_lib.instrumentation.room_code import is_room_code, is_written_for_the_room
from chatroom_lib.rooms import VERSIONS

PACKAGE = Path(chatroom_lib.__file__).parent
ROOMS = [path for folder in ("rooms", "reference_rooms") for path in (PACKAGE / folder).glob("*.py")]


def code_of(function) -> str:
    return function.__code__.co_filename


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_is_the_rooms_own(version):
    assert is_room_code(code_of(VERSIONS[version].handle))


def test_everything_else_in_the_package_is_not():
    for path in set(PACKAGE.rglob("*.py")) - set(ROOMS):
        assert not is_room_code(str(path)), path


def test_neither_websockets_nor_the_standard_library_is(tmp_path):
    for module in (asyncio.tasks, contextlib, json.decoder, websockets.asyncio.server):
        assert not is_room_code(module.__file__), module
    assert not is_room_code(importlib.util.find_spec.__code__.co_filename)
    assert not is_room_code("<frozen importlib._bootstrap>")


def test_a_readers_own_file_cell_or_text_is_whatever_its_name(tmp_path):
    for name in ("server.py", "primitives.py", "asyncio/tasks.py", "chatroom_lib/server.py", "websockets/server.py"):
        assert is_room_code(str(tmp_path / name)), name
    assert is_room_code("/tmp/ipykernel_1234/987654321.py")
    assert is_room_code(eval("lambda: None").__code__.co_filename)


def test_a_room_that_is_installed_as_a_package_is():
    import pytest as installed

    assert is_room_code(installed.__file__)


def test_of_what_is_written_for_the_room_that_is_no_part(tmp_path):
    assert is_written_for_the_room(str(tmp_path / "room.py")) and is_written_for_the_room(
        code_of(VERSIONS["v4"].handle)
    )
    assert not is_written_for_the_room(pytest.__file__) and not is_written_for_the_room(json.__file__)
