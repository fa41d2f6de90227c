"""What is sent reads as what was meant, through Matrix events and back."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.errors import MatrixError
from homeserver.services.conversations.contents import Written, write
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.rendering import render
from homeserver.services.conversations.responses import write_edit
from homeserver.services.conversations.shapes.messages import (
    EditMessage,
    Message,
    NewChoice,
    NewContactCard,
    NewExpires,
    NewHappening,
    NewLocation,
    NewMedia,
    NewMention,
    NewMessage,
    NewPoll,
)
from tests.services.conversations.test_rendering import JSON, an_event

CHARACTERS = st.characters(exclude_categories=["Cs"])
TEXT = st.text(CHARACTERS, min_size=1, max_size=60)
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
PEOPLE = st.from_regex(r"[a-z0-9_]{1,8}@[a-z]{1,8}\.example", fullmatch=True)


def there_and_back(message: NewMessage) -> Message:
    written = write(message)
    # What comes back has been through JSON, as on its way to another instance.
    return render(an_event(orjson.loads(orjson.dumps(written.content)), written.type), 7)


@given(TEXT)
def test_a_plain_text_comes_back(text: str) -> None:
    message = there_and_back(NewMessage(text=text))

    assert (message.kind, message.text, message.html) == ("text", text, None)


@given(TEXT, st.sampled_from(["plain", "markdown", "html"]), st.none() | TEXT)
def test_formatted_text_is_shown_as_it_is_stored(text: str, style: Any, html: str | None) -> None:
    try:
        written = write(NewMessage(text=text, format=style, html=html))
    except Problem as problem:
        assert problem.status == 422
        return

    message = render(an_event(written.content), 7)

    assert message.text == written.content["body"]
    assert "<script" not in (message.html or "")


@given(
    st.lists(st.tuples(st.text(CHARACTERS, max_size=5), st.text(CHARACTERS, min_size=1), PEOPLE))
)
def test_places_of_mentions_count_code_points(parts: list[tuple[str, str, str]]) -> None:
    text, mentions = "", []
    for before, name, person in parts:
        text += before
        mentions.append(NewMention(person=person, offset=len(text), length=len(name)))
        text += name

    message = there_and_back(NewMessage(text=text + ".", mentions=mentions))

    found = [(m.person, m.offset, m.length) for m in message.mentions]
    assert found == [(m.person, m.offset, m.length) for m in mentions]
    for (_, name, _), mention in zip(parts, message.mentions, strict=True):
        assert mention.offset is not None and mention.length is not None
        assert message.text is not None
        assert message.text[mention.offset : mention.offset + mention.length] == name


def test_a_mention_is_a_link_for_other_clients() -> None:
    mention = NewMention(person="bob@two.example", offset=2, length=4)

    written = write(NewMessage(text="😀 @Bob <3\nyou?", mentions=[mention]))

    assert written.content["m.mentions"] == {"user_ids": ["@bob:two.example"]}
    assert written.content["formatted_body"] == (
        '😀 <a href="https://matrix.to/#/@bob:two.example">@Bob</a> &lt;3<br>you?'
    )


@given(st.dictionaries(TEXT, JSON, max_size=5))
def test_an_applications_own_data_comes_back(custom: dict[str, Any]) -> None:
    expected = orjson.loads(orjson.dumps(custom))  # JSON has no NaN

    message = there_and_back(NewMessage(text="x", custom=custom))

    assert message.custom == expected


@settings(max_examples=50)
@given(
    st.sampled_from(["image", "video", "audio", "voice", "file", "sticker"]),
    IDS,
    st.none() | TEXT,
    st.none() | st.integers(0, 2**53 - 1),
    st.none() | st.integers(0, 9000),
)
def test_a_file_comes_back(
    kind: Any, name: str, mime: str | None, size: int | None, width: int | None
) -> None:
    media = NewMedia(id=f"one.example~{name}", name="a b.x", mime_type=mime, size=size, width=width)

    message = there_and_back(NewMessage(kind=kind, media=media))

    assert message.kind == kind
    assert message.media is not None
    assert message.media.id == media.id
    found = (message.media.mime_type, message.media.size, message.media.width)
    assert found == (mime, size, width)
    if kind != "sticker":
        assert (message.text, message.media.name) == (None, "a b.x")


def test_the_text_of_a_file_is_its_caption() -> None:
    message = there_and_back(
        NewMessage(kind="image", media_id="one.example~abc", text="*look*", format="markdown")
    )

    assert (message.text, message.html) == ("*look*", "<em>look</em>")


def test_an_encrypted_file_bears_its_key() -> None:
    keys = {"v": "v2", "key": {"alg": "A256CTR", "k": "secret"}, "iv": "iv", "hashes": {}}

    message = there_and_back(
        NewMessage(kind="image", media=NewMedia(id="one.example~abc", encryption=keys))
    )

    assert message.media is not None
    assert (message.media.id, message.media.encryption) == ("one.example~abc", keys)


@given(st.floats(-90, 90), st.floats(-180, 180), st.none() | TEXT)
def test_a_place_comes_back(latitude: float, longitude: float, description: str | None) -> None:
    location = NewLocation(latitude=latitude, longitude=longitude, description=description)

    message = there_and_back(NewMessage(kind="location", location=location))

    assert message.location is not None
    assert message.location.latitude == pytest.approx(latitude, abs=1e-7)
    assert message.location.longitude == pytest.approx(longitude, abs=1e-7)
    assert message.location.description == description


def test_a_contact_comes_back_and_can_be_read_by_all() -> None:
    contact = NewContactCard(
        name="Bob", address="bob@two.example", phones=["+49 1"], emails=["b@x"]
    )

    message = there_and_back(NewMessage(kind="contact", contact=contact))

    assert message.kind == "contact"
    assert message.contact is not None
    assert msgspec.to_builtins(message.contact) == msgspec.to_builtins(contact)
    assert message.text == "Bob\nbob@two.example\n+49 1\nb@x"


def test_an_event_comes_back_and_can_be_read_by_all() -> None:
    event = NewHappening(
        title="Picnic", starts_at="2026-12-01T12:00:00+01:00", ends_at="2026-12-01T14:30:00Z"
    )

    message = there_and_back(NewMessage(kind="event", event=event))

    assert message.kind == "event"
    assert message.event is not None
    assert message.event.starts_at == "2026-12-01T11:00:00.000Z"
    assert message.event.ends_at == "2026-12-01T14:30:00.000Z"
    assert message.text == "Picnic\n2026-12-01 11:00 to 2026-12-01 14:30 UTC"


@given(TEXT, st.lists(TEXT, min_size=1, max_size=20), st.booleans(), st.data())
def test_a_poll_comes_back(question: str, texts: list[str], hidden: bool, data: Any) -> None:
    multiple = data.draw(st.integers(1, len(texts)))
    poll = NewPoll(
        question=question,
        choices=[NewChoice(text=text) for text in texts],
        multiple=multiple,
        hidden=hidden,
    )

    message = there_and_back(NewMessage(kind="poll", poll=poll))

    assert message.poll is not None
    assert message.poll.question == question
    assert [choice.text for choice in message.poll.choices] == texts
    assert (message.poll.multiple, message.poll.hidden) == (multiple, hidden)
    assert message.text is not None and message.text.startswith(question)


def test_what_ends_says_when() -> None:
    message = there_and_back(
        NewMessage(text="x", expires=NewExpires(after_ms=60_000, from_="sent"), view_once=True)
    )
    from_read = there_and_back(
        NewMessage(text="x", expires=NewExpires(after_ms=60_000, from_="read"))
    )

    assert message.view_once
    assert message.expires is not None
    assert message.expires.at == "2023-11-14T22:14:20.123Z"
    assert from_read.expires is not None
    assert (from_read.expires.from_, from_read.expires.at) == ("read", None)


def test_replies_and_threads_come_back() -> None:
    reply = there_and_back(NewMessage(text="x", reply_to="$a"))
    threaded = there_and_back(NewMessage(text="x", thread="$r"))
    both = there_and_back(NewMessage(text="x", reply_to="$a", thread="$r"))

    assert (reply.reply_to, reply.thread) == ("$a", None)
    assert (threaded.reply_to, threaded.thread) == (None, "$r")
    assert (both.reply_to, both.thread) == ("$a", "$r")


def test_an_encrypted_payload_passes_untouched() -> None:
    payload = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgA", "device_id": "D"}

    message = there_and_back(NewMessage(kind="encrypted", encrypted=payload, reply_to="$a"))

    assert (message.encrypted, message.reply_to) == (payload, "$a")


@pytest.mark.parametrize(
    "body, field",
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"kind": "image"}, "media_id"),
        ({"kind": "poll"}, "poll"),
        ({"kind": "location", "text": "x"}, "location"),
        ({"kind": "encrypted"}, "encrypted"),
        ({"kind": "encrypted", "encrypted": {}}, "encrypted"),
        ({"kind": "encrypted", "encrypted": {"algorithm": "x", "y": 0.5}}, "encrypted"),
        ({"kind": "encrypted", "encrypted": {"algorithm": "x"}, "text": "x"}, "encrypted"),
        ({"text": "x", "location": {"latitude": 1, "longitude": 2}}, "location"),
        ({"text": "x", "media_id": "a~b"}, "media"),
        ({"kind": "image", "media_id": "a~b", "media": {"id": "a~b"}}, "media_id"),
        ({"text": "x", "reply_to": "nonsense"}, "reply_to"),
        ({"text": "x", "thread": "nonsense"}, "thread"),
        ({"text": "x", "mentions": [{"person": "a@b.c", "offset": 0, "length": 2}]}, "mentions"),
        ({"text": "x", "mentions": [{"person": "a@b.c", "offset": 0}]}, "mentions"),
        (
            {
                "text": "abc",
                "mentions": [
                    {"person": "a@b.c", "offset": 0, "length": 2},
                    {"person": "a@b.c", "offset": 1, "length": 2},
                ],
            },
            "mentions",
        ),
        ({"text": "<script>x</script>", "format": "html"}, "html"),
        ({"text": "x", "format": "markdown", "html": "y"}, "html"),
        ({"text": "x", "custom": {"long": "x" * 9000}}, "custom"),
        (
            {
                "kind": "poll",
                "poll": {
                    "question": "?",
                    "choices": [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}],
                },
            },
            "poll",
        ),
        (
            {
                "kind": "event",
                "event": {
                    "title": "x",
                    "starts_at": "2026-01-02T00:00:00Z",
                    "ends_at": "2026-01-01T00:00:00Z",
                },
            },
            "event",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_field_named(
    body: dict[str, Any], field: str
) -> None:
    message = msgspec.convert(body, NewMessage)

    with pytest.raises(Problem) as problem:
        write(message)

    assert problem.value.status == 422
    assert problem.value.extra["field"] == field


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "image", "media_id": "nonsense"},
        {"text": "x", "mentions": [{"person": "nobody"}]},
        {"kind": "event", "event": {"title": "x", "starts_at": "tomorrow"}},
        {"kind": "contact", "contact": {"name": "x", "address": "nobody"}},
    ],
)
def test_malformed_names_are_refused(body: dict[str, Any]) -> None:
    message = msgspec.convert(body, NewMessage)

    with pytest.raises(MatrixError) as error:
        write(message)

    assert error.value.status == 400


# ---------------------------------------------------------------- edits


def edited(before: Written, edit: EditMessage) -> Message:
    written = write_edit("$event", before.type, before.content, edit)
    assert written.content["m.relates_to"] == {"rel_type": "m.replace", "event_id": "$event"}
    return render(an_event(before.content, before.type), 7, edit=an_event(written.content))


@given(TEXT, TEXT)
def test_an_edited_text_reads_as_edited(before: str, after: str) -> None:
    message = edited(write(NewMessage(text=before, reply_to="$a")), EditMessage(text=after))

    assert (message.text, message.reply_to) == (after, "$a")


def test_an_edited_caption_keeps_the_file() -> None:
    before = write(NewMessage(kind="image", media=NewMedia(id="a~b", name="n.jpg"), text="old"))

    message = edited(before, EditMessage(text="new"))

    assert (message.kind, message.text) == ("image", "new")
    assert message.media is not None
    assert (message.media.id, message.media.name) == ("a~b", "n.jpg")


def test_a_file_without_caption_can_get_one_and_lose_it() -> None:
    before = write(NewMessage(kind="image", media=NewMedia(id="a~b", name="n.jpg")))

    message = edited(before, EditMessage(text="new"))
    again = edited(
        Written(before.type, {**before.content, "body": "new", "filename": "n.jpg"}),
        EditMessage(text=""),
    )

    assert message.media is not None and again.media is not None
    assert (message.text, message.media.name) == ("new", "n.jpg")
    assert (again.text, again.media.name) == (None, "n.jpg")


def test_an_edit_that_does_not_speak_of_the_custom_data_keeps_them() -> None:
    before = write(NewMessage(text="old", custom={"order": 1}))

    assert edited(before, EditMessage(text="new")).custom == {"order": 1}
    assert edited(before, EditMessage(custom={"order": 2})).text == "old"
    assert edited(before, EditMessage(custom={"order": 2})).custom == {"order": 2}


def test_a_place_can_move() -> None:
    before = write(NewMessage(kind="location", location=NewLocation(latitude=1, longitude=2)))

    message = edited(before, EditMessage(location=NewLocation(latitude=3, longitude=4)))

    assert message.location is not None
    assert (message.location.latitude, message.location.longitude) == (3, 4)
    assert message.text == "Location 3.0000000,4.0000000"


@pytest.mark.parametrize(
    "before, edit",
    [
        (NewMessage(text="x"), {}),
        (NewMessage(text="x"), {"text": ""}),
        (NewMessage(text="x"), {"location": {"latitude": 1, "longitude": 2}}),
        (NewMessage(text="x"), {"encrypted": {"algorithm": "x"}}),
        (NewMessage(kind="encrypted", encrypted={"algorithm": "x"}), {"text": "x"}),
        (
            NewMessage(kind="poll", poll=NewPoll(question="?", choices=[NewChoice(text="x")])),
            {"text": "y"},
        ),
    ],
)
def test_what_cannot_be_edited_so_is_refused(before: NewMessage, edit: dict[str, Any]) -> None:
    with pytest.raises(Problem) as problem:
        edited(write(before), msgspec.convert(edit, EditMessage))

    assert problem.value.status == 422
