"""The examples of other projects run as they are, and the page about them says what was found."""

import asyncio
import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from chatroom_lib import Client
from chatroom_lib.bench.packages import node_environment, version_for_python
from chatroom_lib.cli import make_parser
from chatroom_lib.clients.address import Address
from chatroom_lib.message import Message
from chatroom_lib.runs.program import answers
from chatroom_lib.runtime.addresses import free_port
from tests.helpers import A_STOP, AT_MOST, in_a_loop, joining

ROOT = Path(__file__).parent.parent


def tool():
    """tools/compare_servers.py, as a module."""
    spec = importlib.util.spec_from_file_location("compare_servers", ROOT / "tools" / "compare_servers.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclass looks
    spec.loader.exec_module(module)
    return module


compare = tool()
EXAMPLE = compare.EXAMPLES["gorilla_chat"]


@pytest.fixture
def running(request):
    """The example `request.param`, in a process of its own: (example, port, process)."""
    example = request.param
    try:
        example.version()
    except LookupError as error:
        pytest.skip(str(error))
    port = free_port()
    command = example.command(port, shlex.quote(sys.executable))
    process = subprocess.Popen(
        command, shell=True, cwd=ROOT, env=node_environment(), start_new_session=True, stdout=subprocess.DEVNULL
    )
    yield example, port, process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.real
@pytest.mark.parametrize("running", compare.EXAMPLES.values(), ids=compare.EXAMPLES, indirect=True)
@in_a_loop
async def test_an_example_passes_on_what_is_said_and_ends_when_it_is_told_to(running):
    example, port, process = running
    async with asyncio.timeout(AT_MOST):
        while not await answers("127.0.0.1", port):
            assert process.poll() is None
            await asyncio.sleep(0.02)
        address = Address(url=example.url(port), **example.options)
        wire = address.new_wire([Client("Ann"), Client("Bob")])
        async with joining(address.url_for("Ann")) as ann, joining(address.url_for("Bob")) as bob:
            await wire.open(ann)
            await wire.open(bob)
            hearing = asyncio.create_task(first_heard(wire, bob))
            while not hearing.done():  # nobody is told when Bob is in
                await ann.send(wire.say("Ann", "1"))
                await asyncio.wait([hearing], timeout=0.1)
    assert hearing.result() == Message("Ann", "1")
    os.killpg(process.pid, signal.SIGTERM)
    await asyncio.to_thread(process.wait, A_STOP)


async def first_heard(wire, connection) -> Message:
    async for frame in connection:
        for understood in wire.understand(frame):
            return understood.message


@pytest.mark.parametrize("file", sorted((ROOT / compare.PROGRAMS).iterdir()), ids=lambda file: file.name)
def test_an_example_is_tried_says_whose_it_is_and_listens_on_this_machine_alone(file):
    text = file.read_text(encoding="utf-8")
    assert compare.EXAMPLES[file.stem].file == file.name
    assert re.search(r"After .*https://", text, flags=re.DOTALL) and "Added: the port" in text and "127.0.0.1" in text
    assert "0.0.0.0" not in text and 10 <= len(text.splitlines()) <= 150


def test_the_page_is_what_the_results_say():
    assert compare.PAGE.read_text(encoding="utf-8") == compare.page(compare.results())


def test_neither_names_a_port_of_one_run_or_a_folder_of_one_machine():
    text = compare.RESULTS.read_text(encoding="utf-8") + compare.PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"127\.0\.0\.1:(\d+)", text)) == {str(compare.SHOWN_PORT)}
    assert str(ROOT) not in text and not re.search(r"/(home|root|tmp|Users)/", text)


def score(broken: int = 0, **more) -> dict:
    return {"tested": 1, "kept": 1 - broken, "broken": broken, **more}


def entry(**more) -> dict:
    return {"versions": "gorilla/websocket 1.5.0", "day": "2026-01-02", "rounds": 1, "notes": {}, **more}


def test_the_page_shows_evidence_and_no_markup_in_it():
    hostile = "Ann heard <b>x</b> | [a](b) `c`\n# and $d$"
    broken = score(1, first_seed=0, scenario="flood", evidence=hostile)
    card = {"guarantees": {"delivery": broken, "no-leak": score()}, "cells": {"delivery": {"flood": broken}}}
    page = compare.page({"gorilla_chat": entry(card={**card, "not judged": {"churn": "the run took too long"}})})
    assert "| `delivery` | **1** |\n| `no-leak` | ✓ |" in page and "total-order" not in page
    assert r"- `delivery`: Ann heard \<b\>x\</b\> \| \[a\](b) \`c\` \# and \$d\$ (round 1, flood)" in page
    assert "- Not judged in churn: the run took too long\n" in page


def test_a_server_that_is_not_judged_says_why():
    page = compare.page({"gorilla_chat": entry(error="it passes nothing on")})
    assert "- Not judged: it passes nothing on\n" in page


def test_one_that_is_not_installed_is_left_out_and_the_others_stay(monkeypatch, tmp_path, capsys):
    files(monkeypatch, tmp_path, {"gorilla_chat": entry(error="of the last time")})
    missing = replace(EXAMPLE, version=lambda: version_for_python("no-such-package"))
    monkeypatch.setitem(compare.EXAMPLES, "gorilla_chat", missing)
    assert compare.main(["--only", "gorilla_chat"]) == 0
    assert "gorilla: left out, no-such-package is not installed: pip install" in capsys.readouterr().out
    assert "of the last time" in compare.PAGE.read_text()


def test_an_interrupt_keeps_what_was_tried(monkeypatch, tmp_path):
    files(monkeypatch, tmp_path, {})
    found = iter([entry(error="too bad"), KeyboardInterrupt])

    def tried(*_):
        if (result := next(found)) is KeyboardInterrupt:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(compare, "tried", tried)
    assert compare.main([]) == 130
    assert list(json.loads(compare.RESULTS.read_text())) == ["websockets_broadcast"]
    assert "Not judged: too bad" in compare.PAGE.read_text()


def files(monkeypatch, folder: Path, found: dict) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NODE_PATH", "")
    monkeypatch.setattr(compare, "RESULTS", folder / "servers.json")
    monkeypatch.setattr(compare, "PAGE", folder / "servers.md")
    compare.RESULTS.write_text(json.dumps(found))


@pytest.mark.parametrize("name", compare.EXAMPLES)
def test_the_command_to_repeat_it_is_one_of_the_command_line(name):
    words = shlex.split(compare.EXAMPLES[name].repeat(2).replace("\\\n", ""))  # as a shell does
    assert words[:2] == ["chatroom", "check"]
    asked = make_parser().parse_args(words[1:])
    assert asked.server_command == compare.EXAMPLES[name].command(compare.SHOWN_PORT) and asked.rounds == 2
    given = {option: getattr(asked, option) for option in ("wire", "fields", "event") if getattr(asked, option)}
    if fields := given.get("fields"):
        assert fields.pop("more") == {}
    assert given == compare.EXAMPLES[name].options
