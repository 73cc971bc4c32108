"""How people speak to servers that are not this library's, and recognise what comes back."""

import json

import pytest

from chatroom_lib import Client
from chatroom_lib.clients.address import Address, is_private
from chatroom_lib.clients.wires import JsonWire, SocketIoWire, TextWire

NAMES = [Client("Ann"), Client("P12")]
TEXT, JSON = TextWire(NAMES, "k1f"), JsonWire(NAMES, "k1f")
SAID = "k1f-ann-7"
URL = "ws://127.0.0.1:8081/ws"


def heard(wire, frame) -> list[str]:
    """What people hear in a frame: "Ann 7"."""
    assert all(understood.kind == "heard" for understood in wire.understand(frame))
    return [f"{each.message.token} {each.message.content}" for each in wire.understand(frame)]


@pytest.mark.parametrize(
    "frame",
    [
        "k1f-ann-7 ......",
        "k1f-ann-7",
        "[12:01] Ann: k1f-ann-7 ......",
        "K1F-ANN-7 ......",
        b"k1f-ann-7 ......",
        "&lt;b&gt;k1f-ann-7 ....&lt;/b&gt;",
        json.dumps({"type": "chat", "id": 3, "payload": {"from": "Ann", "body": "k1f-ann-7 ..."}}),
        json.dumps({"text": "k1f-ann-7 ...", "html": "<p>k1f-ann-7 ...</p>"}),
        json.dumps({"text": "k1f-ann-7 ...", "html": "<p>k1f-ann-7 ...</p>"}, indent=2),
        '42["chat message","k1f-ann-7 ..."]',
    ],
)
def test_what_a_server_changes_wraps_or_prefixes_is_recognised(frame):
    assert heard(TEXT, frame) == heard(JSON, frame) == ["Ann 7"]


def test_several_messages_in_one_frame_are_several():
    assert heard(TEXT, "k1f-ann-7 ...\nk1f-p12-1 ...") == ["Ann 7", "P12 1"]
    assert heard(TEXT, '[{"text":"k1f-ann-7"},{"text":"k1f-ann-8"}]') == ["Ann 7", "Ann 8"]


def test_a_message_twice_in_one_frame_is_twice_if_it_is_on_two_lines():
    assert heard(TEXT, "k1f-ann-7 ...\nk1f-ann-7 ...") == ["Ann 7", "Ann 7"]


@pytest.mark.parametrize("frame", ["", "hello", "k2f-ann-7", "k1f-bob-7", "k1f-ann", '{"online": 3}', b"\xff\xfe"])
def test_what_nobody_here_has_said_is_not_heard(frame):
    assert TEXT.understand(frame) == JSON.understand(frame) == []


def test_the_json_wire_has_the_fields_that_it_is_told():
    assert json.loads(JSON.say("Ann", "7 ..")) == {"token": "Ann", "content": "k1f-ann-7 .."}
    other = JsonWire(NAMES, "k1f", "user", "msg", {"type": "chat"})
    assert json.loads(other.say("Ann", "7 ..")) == {"user": "Ann", "msg": "k1f-ann-7 ..", "type": "chat"}


def test_a_refusal_is_one_of_what_it_names():
    frame = json.dumps({"token": "chatroom", "content": "too fast", "refused": "k1f-ann-7 ..."})
    (understood,) = JSON.understand(frame)
    assert (understood.kind, understood.message.token, understood.message.refused) == ("refused", "Ann", "7")
    assert heard(JSON, '{"token":"Ann","content":"k1f-ann-7","refused":null}') == ["Ann 7"]


def test_socket_io_has_an_event_and_answers_pings():
    wire = SocketIoWire(NAMES, "k1f", "chat message")
    assert wire.say("Ann", "7 ..") == '42["chat message","k1f-ann-7 .."]'
    assert (wire.answer("2"), wire.answer('42["message","2"]')) == ("3", None)
    fields = SocketIoWire(NAMES, "k1f", "say", {"name": "user", "text": "msg"})
    assert json.loads(fields.say("Ann", "7")[2:]) == ["say", {"user": "Ann", "msg": "k1f-ann-7"}]


def test_each_run_has_marks_of_its_own():
    ann = [Client("Ann")]
    one, other = (Address(url=URL).new_wire(ann) for _ in range(2))
    assert heard(one, one.say("Ann", "1")) == ["Ann 1"]
    assert other.understand(one.say("Ann", "1")) == []


def test_everybody_says_who_they_are_where_the_server_wants_it():
    headers = (("Authorization", "Bearer {name}"),)
    address = Address(url=URL + "?room=1", hello='{"join":"{name}"}', query="user={name}", headers=headers)
    person = address.person(Client("Ann"))
    assert address.url_for("Ann") == URL + "?room=1&user=Ann"
    assert (person.first, person.headers) == ('{"join":"Ann"}', (("Authorization", "Bearer Ann"),))


@pytest.mark.parametrize(
    "url, path",
    [
        ("ws://127.0.0.1:80", "/socket.io/?EIO=4&transport=websocket"),
        ("ws://127.0.0.1:80/chat/", "/chat/?EIO=4&transport=websocket"),
        ("ws://127.0.0.1:80/s/?EIO=4&transport=websocket", "/s/?EIO=4&transport=websocket"),
    ],
)
def test_socket_io_has_a_path_of_its_own(url, path):
    assert Address("socketio", url=url).url_for("Ann") == "ws://127.0.0.1:80" + path


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "http://127.0.0.1", "ws://", "ws:///chat"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match="not the address of a WebSocket server"):
        Address(url=url)


def test_options_that_fit_no_wire_are_refused():
    with pytest.raises(ValueError, match="no wire 'xml': there are json, text, socketio"):
        Address("xml", url=URL)
    with pytest.raises(ValueError, match="fields are for a JSON object"):
        Address("text", {"name": "user"}, url=URL)


def test_private_addresses_are_those_that_lead_nowhere_else():
    assert all(map(is_private, ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.1", "fe80::1%eth0"]))
    assert not any(map(is_private, ["8.8.8.8", "1.1.1.1", "2606:4700::1111"]))
