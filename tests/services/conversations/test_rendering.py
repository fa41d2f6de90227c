"""Whatever JSON an event bears, it becomes a message."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.services.conversations.rendering import (
    READERS,
    encode,
    is_message,
    render,
    render_deleted,
)
from homeserver.services.conversations.shapes.messages import Deleted, Location, Mention
from homeserver.services.conversations.system_messages import READERS as SYSTEM

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        *("msgtype", "body", "format", "formatted_body", "filename", "url", "file", "info"),
        *("geo_uri", "m.location", "m.mentions", "m.relates_to", "m.new_content", "membership"),
        *("dev.comity.mentions", "dev.comity.contact", "dev.comity.event", "dev.comity.custom"),
        *("dev.comity.forwarded", "dev.comity.expires", "view_once", "m.poll", "m.text"),
        *("org.matrix.msc3381.poll.start", "org.matrix.msc3245.voice", "offer", "call_id"),
        *("org.matrix.msc1767.audio", "name", "topic", "user_ids", "event_id", "rel_type"),
        *("question", "answers", "id", "title", "starts_at", "user_id", "offset", "length", "w"),
    ]
)
VALUES = st.sampled_from(
    [
        *("m.text", "m.image", "m.audio", "m.location", "m.file", "m.emote", "join", "leave"),
        *("org.matrix.custom.html", "mxc://b.example/abc", "geo:1,2", "$event", "@a:b.example"),
        '<a href="https://matrix.to/#/@a:b.example">x</a>',
        *("m.replace", "m.thread", "> <@a:b> x\n\ny", "<b>x</b>", 5, 0, True),
    ]
)
LIKELY = st.recursive(
    VALUES | JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)
CONTENT = st.dictionaries(KEYS, LIKELY, max_size=8)
TYPES = st.sampled_from([*READERS, *SYSTEM, "m.reaction", "com.example.other"])


def an_event(
    content: dict[str, Any], type: str = "m.room.message", state_key: str | None = None, **more: Any
) -> Event:
    pdu: dict[str, Any] = {
        "type": type,
        "sender": "@alice:one.example",
        "room_id": "!room:one.example",
        "content": content,
        "depth": 5,
        "origin_server_ts": 1_700_000_000_123,
        "prev_events": [],
        "auth_events": [],
        **more,
    }
    if state_key is not None:
        pdu["state_key"] = state_key
    return Event(pdu, "$event", ROOM_VERSIONS["11"])


@settings(max_examples=400)
@given(CONTENT, TYPES, st.none() | TEXT, st.none() | CONTENT)
def test_any_content_becomes_a_message_that_can_be_written(
    content: dict[str, Any], type: str, state_key: str | None, edit: dict[str, Any] | None
) -> None:
    event = an_event(content, type, state_key)
    other = an_event({"m.new_content": edit}, type) if edit is not None else None

    message = orjson.loads(encode(render(event, 7, edit=other)))

    assert message["id"] == "$event"
    assert message["sender"] == "alice@one.example"
    assert is_message(event) in (True, False)


@given(CONTENT, st.integers(-(2**70), 2**70))
def test_any_time_of_sending_can_be_written(content: dict[str, Any], ts: int) -> None:
    event = an_event(content, origin_server_ts=ts)

    message = orjson.loads(encode(render(event, 7)))

    assert message["sent_at"].endswith("Z")


def test_nesting_without_measure_is_left_out() -> None:
    deep: Any = {}
    for _ in range(900):
        deep = {"a": [deep]}
    event = an_event({"msgtype": "m.text", "body": "x", "dev.comity.custom": deep})

    message = render(event, 7)

    assert message.custom is None
    assert orjson.loads(encode(message))["text"] == "x"


def test_a_plain_text_has_nothing_but_what_it_has() -> None:
    event = an_event({"msgtype": "m.text", "body": "hello"})

    message = orjson.loads(encode(render(event, 7)))

    assert message == {
        "id": "$event",
        "conversation_id": "!room:one.example",
        "position": 7,
        "sender": "alice@one.example",
        "sent_at": "2023-11-14T22:13:20.123Z",
        "kind": "text",
        "text": "hello",
    }


def test_html_of_others_is_made_safe() -> None:
    event = an_event(
        {
            "msgtype": "m.text",
            "body": "hi",
            "format": "org.matrix.custom.html",
            "formatted_body": "<mx-reply>old</mx-reply><b onclick=x>hi</b><script>x()</script>"
            "<img src=x onerror=y><a href='javascript:z'>l</a>"
            "<a href='https://matrix.to/#/@bob:two.example'>Bob</a>",
        }
    )

    html = render(event, 7).html

    assert html == (
        '<b>hi</b><a rel="noopener noreferrer">l</a><a data-person="bob@two.example">Bob</a>'
    )


def test_a_reply_is_shown_without_the_old_quotation() -> None:
    event = an_event(
        {
            "msgtype": "m.text",
            "body": "> <@bob:two.example> how are you?\n\nfine",
            "m.relates_to": {"m.in_reply_to": {"event_id": "$question"}},
        }
    )

    message = render(event, 7)

    assert (message.text, message.reply_to) == ("fine", "$question")


def test_a_text_that_only_looks_like_a_quotation_stays() -> None:
    event = an_event({"msgtype": "m.text", "body": "> <@bob:two.example> x\n\nfine"})

    assert render(event, 7).text == "> <@bob:two.example> x\n\nfine"


def test_an_element_reply_in_a_thread_tells_thread_and_reply() -> None:
    relates_to = {
        "rel_type": "m.thread",
        "event_id": "$root",
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": "$last"},
    }

    falling_back = render(an_event({"msgtype": "m.text", "m.relates_to": relates_to}), 7)
    real = render(
        an_event({"msgtype": "m.text", "m.relates_to": {**relates_to, "is_falling_back": False}}), 7
    )

    assert (falling_back.thread, falling_back.reply_to) == ("$root", None)
    assert (real.thread, real.reply_to) == ("$root", "$last")


def test_an_image_with_caption_has_file_and_text() -> None:
    event = an_event(
        {
            "msgtype": "m.image",
            "body": "the sea",
            "filename": "sea.jpg",
            "url": "mxc://two.example/abc",
            "info": {"w": 30, "h": 20, "size": 5, "mimetype": "image/jpeg"},
        }
    )

    message = render(event, 7)

    assert message.kind == "image"
    assert message.text == "the sea"
    assert message.media is not None
    assert (message.media.id, message.media.name) == ("two.example~abc", "sea.jpg")
    assert message.media.url == "/api/v1/media/two.example~abc/content"
    assert (message.media.width, message.media.height, message.media.size) == (30, 20, 5)


@pytest.mark.parametrize("poll_type", ["m.poll.start", "org.matrix.msc3381.poll.start"])
def test_both_spellings_of_a_poll_are_read(poll_type: str) -> None:
    stable = {
        "m.poll": {
            "question": {"m.text": [{"body": "Where?"}]},
            "kind": "m.undisclosed",
            "max_selections": 9,
            "answers": [
                {"m.id": "a", "m.text": [{"body": "Here"}]},
                {"m.id": "b", "m.text": [{"body": "There"}]},
            ],
        }
    }
    unstable = {
        "org.matrix.msc3381.poll.start": {
            "question": {"org.matrix.msc1767.text": "Where?"},
            "kind": "org.matrix.msc3381.poll.undisclosed",
            "max_selections": 9,
            "answers": [
                {"id": "a", "org.matrix.msc1767.text": "Here"},
                {"id": "b", "org.matrix.msc1767.text": "There"},
            ],
        }
    }

    poll = render(an_event(stable if poll_type == "m.poll.start" else unstable, poll_type), 7).poll

    assert poll is not None
    assert poll.question == "Where?"
    assert [(choice.id, choice.text) for choice in poll.choices] == [("a", "Here"), ("b", "There")]
    assert (poll.multiple, poll.hidden) == (2, True)


@pytest.mark.parametrize(
    "uri, place",
    [
        ("geo:52.5,13.4", (52.5, 13.4)),
        ("geo:-1,-2.25;u=35", (-1.0, -2.25)),
        ("geo:91,0", None),
        ("geo:1", None),
        ("https://x", None),
        (5, None),
    ],
)
def test_a_location_is_a_place_on_earth_or_unknown(
    uri: object, place: tuple[float, float] | None
) -> None:
    message = render(an_event({"msgtype": "m.location", "body": "here", "geo_uri": uri}), 7)

    if place is None:
        assert (message.kind, message.location, message.text) == ("unknown", None, "here")
    else:
        assert message.location == Location(latitude=place[0], longitude=place[1])


def test_mentions_outside_of_the_text_are_without_place_or_gone() -> None:
    event = an_event(
        {
            "msgtype": "m.text",
            "body": "Bob!",
            "m.mentions": {"user_ids": ["@bob:two.example", "@carol:two.example", 5]},
            "dev.comity.mentions": [
                {"user_id": "@bob:two.example", "offset": 0, "length": 3},
                {"user_id": "@carol:two.example", "offset": 2, "length": 3},
            ],
        }
    )

    assert render(event, 7).mentions == [
        Mention(person="bob@two.example", offset=0, length=3),
        Mention(person="carol@two.example"),
    ]


def test_mentions_of_other_clients_are_found_by_their_links() -> None:
    bob, eve = "https://matrix.to/#/@bob:two.example", "https://matrix.to/#/%40eve:two.example"
    event = an_event(
        {
            "msgtype": "m.text",
            "body": "> <@x:y> Bob\n\n😀 Bob and Eve & Bob",
            "format": "org.matrix.custom.html",
            "formatted_body": f'😀 <a href="{bob}">Bob</a> and <a href="{eve}">Eve</a> &amp; '
            f'<a href="{bob}?via=two.example">Bob</a>',
            "m.mentions": {"user_ids": ["@bob:two.example", "@carol:two.example"]},
            "m.relates_to": {"m.in_reply_to": {"event_id": "$other"}},
        }
    )

    message = render(event, 7)

    assert message.text == "😀 Bob and Eve & Bob"
    assert message.mentions == [
        Mention(person="bob@two.example", offset=2, length=3),
        Mention(person="bob@two.example", offset=16, length=3),
        Mention(person="carol@two.example"),
    ]


def test_an_edit_replaces_what_is_said_and_not_what_it_answers() -> None:
    event = an_event(
        {
            "msgtype": "m.text",
            "body": "helo",
            "m.relates_to": {"m.in_reply_to": {"event_id": "$other"}},
        }
    )
    edit = an_event(
        {"body": "* hello", "m.new_content": {"msgtype": "m.text", "body": "hello"}},
        origin_server_ts=1_700_000_005_000,
    )

    message = render(event, 7, edit=edit)

    assert (message.text, message.reply_to) == ("hello", "$other")
    assert message.edited_at == "2023-11-14T22:13:25.000Z"


def test_an_encrypted_payload_is_untouched() -> None:
    payload = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgA", "session_id": "s", "x": 1}
    event = an_event(
        {**payload, "m.relates_to": {"m.in_reply_to": {"event_id": "$other"}}}, "m.room.encrypted"
    )

    message = render(event, 7)

    assert (message.kind, message.encrypted, message.reply_to) == ("encrypted", payload, "$other")


def test_a_deleted_message_says_nothing_of_what_it_said() -> None:
    event = an_event({"msgtype": "m.text", "body": "secret", "dev.comity.custom": {"k": "secret"}})

    written = encode(render_deleted(event, 7, Deleted(by="bob@two.example")))

    assert b"secret" not in written
    assert orjson.loads(written)["deleted"] == {"by": "bob@two.example"}


@pytest.mark.parametrize(
    "membership, state_key, what",
    [
        ("join", "@alice:one.example", "joined"),
        ("leave", "@alice:one.example", "left"),
        ("leave", "@bob:two.example", "removed"),
        ("ban", "@bob:two.example", "banned"),
        ("invite", "@bob:two.example", "invited"),
        ("knock", "@alice:one.example", "asked_to_join"),
        ([], "@alice:one.example", "changed"),
    ],
)
def test_membership_is_told_as_what_happened(membership: object, state_key: str, what: str) -> None:
    message = render(an_event({"membership": membership}, "m.room.member", state_key), 7)

    assert message.system is not None
    assert message.system.what == what


def test_only_what_stands_by_itself_is_a_message() -> None:
    edit = {"m.relates_to": {"rel_type": "m.replace", "event_id": "$other"}}
    reply = {"m.relates_to": {"m.in_reply_to": {"event_id": "$other"}}}

    assert is_message(an_event({}))
    assert is_message(an_event(reply))
    assert is_message(an_event({}, "com.example.unknown"))
    assert is_message(an_event({}, "m.room.name", ""))
    assert not is_message(an_event(edit))
    assert not is_message(an_event({}, "m.reaction"))
    assert not is_message(an_event({}, "m.room.redaction"))
    assert not is_message(an_event({}, "org.matrix.msc3381.poll.response"))
    assert not is_message(an_event({}, "m.call.candidates"))
