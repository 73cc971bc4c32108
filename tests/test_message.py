"""What a frame may contain, and what the error says if it contains something else."""

import json

import pytest

from chatroom_lib.message import (
    Message,
    MessageError,
    PageRequest,
    decode,
    decode_reply,
    decode_request,
    encode,
    encode_end,
    last_wanted,
)  # fmt: skip

TEXTS = [
    "hello",
    "",
    "héllo, 世界 👋🏽",
    "\u0635\u0628\u0627\u062d",
    "\u2028\x00\x7f",
    'say "hi" \\ bye\n',
    "a" * 99_999,
]
both = pytest.mark.parametrize("read", [decode, decode_reply])


def error_in(read, frame):
    with pytest.raises(MessageError) as caught:
        read(frame)
    return str(caught.value)


# ---------------------------------------------------------------- what is a message


@both
@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_message_comes_back_as_it_went_out(read, text):
    message = Message(text, text)
    assert read(encode(message)) == message


def test_a_message_is_one_small_json_object():
    assert encode(Message("Ann", "hi")) == '{"token":"Ann","content":"hi"}'


def test_unicode_goes_out_as_itself_not_as_escapes():
    frame = encode(Message("Ann", "世界 👋"))
    assert "世界 👋" in frame
    assert "\\u" not in frame
    assert len(frame.encode()) < len(json.dumps(json.loads(frame)))


@both
def test_escapes_are_read_too(read):
    frame = r'{"token": "\u0041nn", "content": "\ud83d\ude00"}'
    assert read(frame) == Message("Ann", "\N{GRINNING FACE}")


@both
def test_spaces_and_the_order_of_fields_do_not_matter(read):
    assert read('\n{ "content" : "hi" ,\t"token" : "Ann" } ') == Message("Ann", "hi")


@both
@pytest.mark.parametrize("extra", ["1", "null", "[[{}]]", '{"token": 1}', r'"\ud800"', "1e999"])
def test_unknown_fields_are_skipped(read, extra):
    assert read(f'{{"id": {extra}, "token": "Ann", "content": "hi"}}') == Message("Ann", "hi")


@both
def test_the_case_of_a_field_counts(read):
    assert error_in(read, '{"Token": "Ann", "content": "hi"}') == "token is missing"


# ---------------------------------------------------------------- refusals


def test_a_message_that_is_not_a_refusal_does_not_mention_one():
    assert "refused" not in encode(Message("Ann", "hi"))


@pytest.mark.parametrize("said", TEXTS, ids=ascii)
def test_a_refusal_reaches_the_client(said):
    refusal = Message("chatroom", "Not sent.", refused=said)
    assert decode_reply(encode(refusal)) == refusal


def test_a_message_from_a_room_is_not_a_refusal_unless_it_says_so():
    assert decode_reply('{"token": "Ann", "content": "hi"}').refused is None


@pytest.mark.parametrize("refused", ['"hi"', "1", "null", r'"\ud800"'])
def test_a_client_cannot_send_a_refusal(refused):
    frame = f'{{"token": "chatroom", "content": "Not sent.", "refused": {refused}}}'
    assert decode(frame) == Message("chatroom", "Not sent.")


@pytest.mark.parametrize("refused", ["1", "true", "null", "[]", "{}"])
def test_a_refusal_of_anything_but_text_is_an_error(refused):
    frame = f'{{"token": "chatroom", "content": "Not sent.", "refused": {refused}}}'
    assert error_in(decode_reply, frame) == "refused must be text"


# ---------------------------------------------------------------- what is not a message


NOT_MESSAGES = {
    b'{"token": "Ann", "content": "hi"}': "binary frame",
    "": "not JSON",
    "hello": "not JSON",
    "{": "not JSON",
    "{'token': 'Ann', 'content': 'hi'}": "not JSON",
    '{"token": "Ann", "content": "hi"} {}': "not JSON",
    '{"token": "Ann", "content": "line\nline"}': "not JSON",
    '\ufeff{"token": "Ann", "content": "hi"}': "not JSON",
    "null": "not a JSON object",
    "1": "not a JSON object",
    '"token content"': "not a JSON object",
    '["token", "content"]': "not a JSON object",
    "{}": "token is missing",
    '{"content": "hi"}': "token is missing",
    '{"token": "Ann"}': "content is missing",
    '{"token": 1, "content": "hi"}': "token must be text",
    '{"token": null, "content": "hi"}': "token must be text",
    '{"token": ["Ann"], "content": "hi"}': "token must be text",
    '{"token": "Ann", "content": 1.5}': "content must be text",
    '{"token": "Ann", "content": true}': "content must be text",
    '{"token": "Ann", "content": {"text": "hi"}}': "content must be text",
    r'{"token": "\ud83d", "content": "hi"}': "token contains an unpaired surrogate",
    r'{"token": "Ann", "content": "hi \ude00"}': "content contains an unpaired surrogate",
    r'{"token": "Ann", "content": "\ude00\ud83d"}': "content contains an unpaired surrogate",
    "[" * 200_000: "too many digits or brackets",
    '{"token":' * 200_000: "too many digits or brackets",
    '{"token": "Ann", "content": "hi", "id": ' + "1" * 10_000 + "}": "too many digits or brackets",
}


@both
@pytest.mark.parametrize("frame, reason", NOT_MESSAGES.items(), ids=lambda value: ascii(value[:40]))
def test_anything_else_is_an_error_that_names_what_is_wrong(read, frame, reason):
    assert reason in error_in(read, frame)


@both
@pytest.mark.parametrize("frame", NOT_MESSAGES, ids=lambda frame: ascii(frame[:40]))
def test_the_error_fits_into_a_close_frame(read, frame):
    assert 0 < len(error_in(read, frame).encode()) <= 120


@pytest.mark.parametrize("frame", ["世" * 200, '{"token": "Ann", "content": ["' + "世" * 200 + '"]}'])
def test_the_error_does_not_quote_the_frame(frame):
    assert error_in(decode, frame).isascii()


def test_the_error_hides_the_json_library_behind_it():
    with pytest.raises(MessageError) as caught:
        decode("hello")
    assert caught.value.__suppress_context__


# ---------------------------------------------------------------- what rooms with a history read and write


def test_a_number_and_an_id_reach_the_client():
    message = Message("Ann", "hi", id="7f", seq=12)
    assert (
        encode(message) == '{"token":"Ann","content":"hi","id":"7f","seq":12}'
        and decode_reply(encode(message)) == message
    )
    assert decode(encode(message)) == Message("Ann", "hi")  # rooms without a history know neither


@pytest.mark.parametrize("id, seq", [(7, "1"), ("x" * 65, 1.5), ("", True), (None, None), (["a"], {})])
def test_an_id_or_a_number_that_is_none_counts_as_none(id, seq):
    assert decode_reply(json.dumps({"token": "Ann", "content": "hi", "id": id, "seq": seq})) == Message("Ann", "hi")


@pytest.mark.parametrize("id", [None, "x" * 64, "世界"])
def test_a_client_may_name_its_message(id):
    assert decode_request(json.dumps({"token": "Ann", "content": "hi", "id": id})) == Message("Ann", "hi", id=id)


def test_a_client_may_ask_for_a_page():
    assert decode_request('{"before": 120, "limit": 50}') == PageRequest(120, 50)
    assert decode_request('{"before": 0}') == PageRequest(0, 100) == decode_request('{"before": 0, "limit": 101}')
    assert json.loads(encode_end(PageRequest(3))) == {"token": "chatroom", "content": "", "before": 3, "end": True}


@pytest.mark.parametrize(
    "path, messages",
    [("/chatroom", 0), ("/chatroom?last=50", 50), ("/?a=b&last=7&last=8", 7), ("/?last=2000", 1000), ("/?last=", 0)]
    + [("/?last=" + "9" * 5000, 1000)],
)
def test_a_newcomer_asks_for_the_last_ones_in_its_path(path, messages):
    assert last_wanted(path) == messages
    assert last_wanted(path, 7_000) == (messages if "last" in path and not path.endswith("=") else 7_000)
