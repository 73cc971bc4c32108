"""The checks of chapter 05 refuse the wrong answers that are near at hand."""

import asyncio
from pathlib import Path

import pytest

from chatroom_lib import encode, rooms
from chatroom_lib.frames import frames

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


@pytest.fixture
def chapter_05(monkeypatch):
    monkeypatch.syspath_prepend(NOTEBOOKS)
    from exercises import chapter_05

    return chapter_05


class WritesAtOnce(rooms.resolve("v3.1")):
    """It never waits, so its outboxes are always empty, and nothing bounds what is written."""

    async def write(self, client):
        while True:
            messages = [await client.outbox.get()]
            await asyncio.sleep(0)
            while not client.outbox.empty():
                messages.append(client.outbox.get_nowait())
            data = frames([encode(message).encode() for message in messages], client.connection)
            client.connection.transport.write(data)


@pytest.mark.slow
def test_a_writer_that_forgets_its_bound_has_not_solved_the_exercise(chapter_05, capsys):
    assert not chapter_05.check_the_writer_batches(WritesAtOnce)
    assert "3 of 4 kept. Missing:\n  bounded-memory" in capsys.readouterr().out


@pytest.mark.parametrize(
    "gathers, buffer_kb, missing",
    [
        ("never", 220, "at most 200 writes"),
        ("always", 220, "a lone message"),
        ("when busy", 64, "in a tunnel"),
        ("when busy", 512, "at most 256 kB"),
    ],
)
def test_each_choice_for_the_lobby_has_its_consequence(chapter_05, capsys, gathers, buffer_kb, missing):
    reason = "Because nobody should have to wait for long."
    choice = type("Room", (), {"gathers": gathers, "buffer_kb": buffer_kb, "why": reason})
    assert not chapter_05.check_the_lobby(choice)
    assert f"4 of 5 kept. Missing:\n  {missing}" in capsys.readouterr().out


def test_a_choice_for_the_lobby_needs_a_reason(chapter_05, capsys):
    choice = type("Room", (), {"gathers": "when busy", "buffer_kb": 220, "why": ""})
    assert not chapter_05.check_the_lobby(choice)
    assert "4 of 5 kept. Missing:\n  a reason" in capsys.readouterr().out
