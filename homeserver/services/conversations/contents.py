"""New messages as Matrix events: type and content.

Pure.  What is sent is what Element shows: the standard types, with a readable text for what has
none, and Comity's own keys beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import orjson

from homeserver.protocol.answers import POLL_STARTS
from homeserver.protocol.relations import THREAD
from homeserver.services.conversations import texts
from homeserver.services.conversations.keys import (
    CONTACT,
    CUSTOM,
    EXTENSIBLE_TEXTS,
    HAPPENING,
    HTML,
    MENTIONS,
    MESSAGE,
)
from homeserver.services.conversations.polls import POLL_KEYS, UNDISCLOSED
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.reading import as_object
from homeserver.services.conversations.shapes.media import media_uri
from homeserver.services.conversations.shapes.messages import (
    MAX_CUSTOM_BYTES,
    EditMessage,
    NewContactCard,
    NewHappening,
    NewLocation,
    NewMedia,
    NewMessage,
    NewPoll,
)
from homeserver.services.conversations.shapes.people import address, parse_person
from homeserver.services.conversations.shapes.times import parse_time, rfc3339

Content = dict[str, Any]

MSGTYPES = {
    "text": "m.text",
    "image": "m.image",
    "video": "m.video",
    "audio": "m.audio",
    "voice": "m.audio",
    "file": "m.file",
}
OWN_PARTS = ("media", "location", "contact", "poll", "event", "encrypted")
RELATION = "m.relates_to"
ENCRYPTED = "m.room.encrypted"
SAFE_INTEGER = 2**53 - 1


class Written(NamedTuple):
    """An event's type and content."""

    type: str
    content: Content


def invalid(field: str, detail: str) -> Problem:
    """A body that does not make sense, and the field in which."""
    return Problem("invalid_body", detail, status=422, field=field)


# ---------------------------------------------------------------- new messages


def write(message: NewMessage) -> Written:
    """A message as an event.

    Raises :class:`Problem` (422) where fields do not fit together, :class:`InvalidParam` for
    malformed addresses, times and IDs.
    """
    if message.kind == "text" and _is_plain(message):  # most are, and nothing is to be checked
        content: Content = {"msgtype": "m.text", "body": _required_text(message)}
    else:
        _check_parts(message)
        content = WRITERS[message.kind](message)
    if message.reply_to is not None or message.thread is not None:
        content[RELATION] = relation(message.reply_to, message.thread)
    if message.expires is not None:
        expires = message.expires
        content["dev.comity.expires"] = {"after_ms": expires.after_ms, "from": expires.from_}
    if message.view_once:
        content["dev.comity.view_once"] = True
    if message.custom is not None:
        content[CUSTOM] = custom_value(message.custom)
    return Written(TYPES.get(message.kind, MESSAGE), content)


def _is_plain(message: NewMessage) -> bool:
    return (
        message.format == "plain"
        and message.html is None
        and not message.mentions
        and not message.mentions_all
        and message.media_id is None
        and not any(getattr(message, part) is not None for part in OWN_PARTS)
    )


def _required_text(message: NewMessage) -> str:
    if not message.text:
        raise invalid("text", "A message of kind 'text' needs a 'text'")
    return message.text


def _check_parts(message: NewMessage) -> None:
    """That a message has the part that its kind needs, and none of another kind."""
    kind = message.kind
    needed = "media" if kind in FILES else kind if kind != "text" else None
    if message.media is not None and message.media_id is not None:
        raise invalid("media_id", "'media' and 'media_id' say the same: give one of them")
    for part in OWN_PARTS:
        given = getattr(message, part) is not None
        if part == "media":
            given = given or message.media_id is not None
        if part == needed and not given:
            name = "media_id" if part == "media" else part
            raise invalid(name, f"A message of kind '{kind}' needs '{name}'")
        if part != needed and given:
            raise invalid(part, f"A message of kind '{kind}' has no '{part}'")


def relation(reply_to: str | None, thread: str | None) -> Content:
    """What a message says of those that it answers.  Spec: rich replies; threading."""
    for name, event_id in (("reply_to", reply_to), ("thread", thread)):
        if event_id is not None and not event_id.startswith("$"):
            raise invalid(name, f"'{name}' is not the ID of a message")
    if thread is None:
        return {"m.in_reply_to": {"event_id": reply_to}}
    return {
        "rel_type": THREAD,
        "event_id": thread,
        "is_falling_back": reply_to is None,
        "m.in_reply_to": {"event_id": reply_to or thread},
    }


def custom_value(custom: Mapping[str, Any]) -> Any:
    """An application's own data as it stands in events: as JSON in a string where it has numbers
    that Matrix does not.  Spec: canonical JSON has no fractions, and integers up to 2**53."""
    if as_object(custom) is None:
        raise invalid("custom", "'custom' is nested too deeply")
    encoded = orjson.dumps(custom)
    if len(encoded) > MAX_CUSTOM_BYTES:
        raise invalid("custom", f"'custom' may have {MAX_CUSTOM_BYTES} bytes")
    return custom if _is_canonical(custom) else encoded.decode()


def _is_canonical(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_canonical(part) for part in value.values())
    if isinstance(value, list):
        return all(_is_canonical(part) for part in value)
    if isinstance(value, float):
        return False
    return not isinstance(value, int) or abs(value) <= SAFE_INTEGER


# ---------------------------------------------------------------- texts


def _text(message: NewMessage) -> Content:
    content: Content = {"msgtype": "m.text"}
    put_text(content, message)
    if not content["body"]:
        raise invalid("text", "A message of kind 'text' needs a 'text'")
    return content


def put_text(content: Content, message: NewMessage | EditMessage) -> None:
    """Write a text with its formatting and mentions.  Raises :class:`Problem`."""
    written = texts.write(message.text or "", message.format, message.html)
    content["body"] = written.body
    html = written.html
    if message.mentions:
        placed = _mentions(content, message, written.body)
        if html is None and placed:
            html = texts.with_mentions(written.body, placed)
    if message.mentions_all:
        content.setdefault("m.mentions", {})["room"] = True
    if html is not None:
        content["format"], content["formatted_body"] = HTML, html


def _mentions(
    content: Content, message: NewMessage | EditMessage, body: str
) -> list[texts.PlacedMention]:
    """Note whom a text names; those that say where, in order."""
    users: list[str] = []
    placed: list[texts.PlacedMention] = []
    for mention in message.mentions:
        user_id = parse_person(mention.person, "mentions.person")
        users.append(user_id)
        if mention.offset is None and mention.length is None:
            continue
        if mention.offset is None or not mention.length:
            raise invalid("mentions", "A mention's 'offset' and 'length' go together")
        if message.format == "html":
            raise invalid("mentions", "Places of mentions count in a plain or markdown 'text'")
        if mention.offset + mention.length > len(body):
            raise invalid("mentions", "A mention lies outside of the text")
        placed.append(texts.PlacedMention(mention.offset, mention.length, user_id))
    placed.sort()
    if any(a.offset + a.length > b.offset for a, b in pairwise(placed)):
        raise invalid("mentions", "Mentions overlap")
    content["m.mentions"] = {"user_ids": list(dict.fromkeys(users))}
    if placed:
        content[MENTIONS] = [
            {"user_id": user_id, "offset": offset, "length": length}
            for offset, length, user_id in placed
        ]
    return placed


# ---------------------------------------------------------------- files


def _file(message: NewMessage) -> Content:
    media = message.media
    if media is None:
        assert message.media_id is not None
        media = NewMedia(id=message.media_id)
    name = media.name or message.kind
    content: Content = {"msgtype": MSGTYPES.get(message.kind, "m.image")}
    put_text(content, message)
    if content["body"]:
        content["filename"] = name
    else:
        content["body"] = name
    _put_file(content, media)
    if message.kind == "voice":
        content["org.matrix.msc3245.voice"] = {}
        content["org.matrix.msc1767.audio"] = _known(
            duration=media.duration_ms, waveform=media.waveform
        )
    return content


def _put_file(content: Content, media: NewMedia) -> None:
    uri = media_uri(media.id)
    if media.encryption is None:
        content["url"] = uri
    else:
        content["file"] = {**media.encryption, "url": uri}
    info = _known(
        mimetype=media.mime_type,
        size=media.size,
        w=media.width,
        h=media.height,
        duration=media.duration_ms,
    )
    if media.thumbnail_id is not None:
        info["thumbnail_url"] = media_uri(media.thumbnail_id, "thumbnail_id")
    if media.blurhash is not None:
        info["xyz.amorgan.blurhash"] = media.blurhash
    content["info"] = info


def _sticker(message: NewMessage) -> Content:
    content = _file(message)
    del content["msgtype"]
    if message.media is not None and message.media.encryption is not None:
        raise invalid("media", "A sticker is not encrypted")
    if "filename" in content:
        del content["filename"]
    return content


def _known(**values: Any) -> Content:
    return {key: value for key, value in values.items() if value is not None}


# ---------------------------------------------------------------- places, people, events


def _location(message: NewMessage) -> Content:
    assert message.location is not None
    content: Content = {"msgtype": "m.location"}
    put_text(content, message)
    put_location(content, message.location)
    return content


def put_location(content: Content, location: NewLocation) -> None:
    """Write a place.  Spec: ``m.location``; MSC3488."""
    uri = f"geo:{location.latitude:.7f},{location.longitude:.7f}"
    content["body"] = content.get("body") or location.description or f"Location {uri[4:]}"
    content["geo_uri"] = uri
    content["m.location"] = _known(uri=uri, description=location.description)
    content["org.matrix.msc3488.location"] = content["m.location"]


def _contact(message: NewMessage) -> Content:
    assert message.contact is not None
    content: Content = {"msgtype": "m.text"}
    put_text(content, message)
    put_contact(content, message.contact)
    return content


def put_contact(content: Content, contact: NewContactCard) -> None:
    """Write a contact's card."""
    user_id = parse_person(contact.address, "contact.address") if contact.address else None
    lines = [contact.name, *([address(user_id)] if user_id else ())]
    lines += [*contact.phones, *contact.emails]
    content["body"] = content.get("body") or "\n".join(lines)
    content[CONTACT] = _known(
        name=contact.name,
        user_id=user_id,
        phones=contact.phones or None,
        emails=contact.emails or None,
    )


def _happening(message: NewMessage) -> Content:
    assert message.event is not None
    content: Content = {"msgtype": "m.text"}
    put_text(content, message)
    put_happening(content, message.event)
    return content


def put_happening(content: Content, event: NewHappening) -> None:
    """Write an event of a calendar.  Raises :class:`Problem`, :class:`InvalidParam`."""
    starts_at = parse_time(event.starts_at, "event.starts_at")
    ends_at = parse_time(event.ends_at, "event.ends_at") if event.ends_at is not None else None
    if starts_at < 0 or (ends_at is not None and ends_at < starts_at):
        raise invalid("event", "'ends_at' lies before 'starts_at', or 'starts_at' before 1970")
    when = _minute(starts_at) + (f" to {_minute(ends_at)}" if ends_at is not None else "")
    lines = [event.title, f"{when} UTC", event.place, event.description]
    content["body"] = content.get("body") or "\n".join(line for line in lines if line)
    content[HAPPENING] = _known(
        title=event.title,
        starts_at=starts_at,
        ends_at=ends_at,
        place=event.place,
        description=event.description or None,
    )


def _minute(ms: int) -> str:
    return rfc3339(ms)[:16].replace("T", " ")


# ---------------------------------------------------------------- polls


def _poll(message: NewMessage) -> Content:
    assert message.poll is not None
    poll: NewPoll = message.poll
    names = [choice.id or str(place) for place, choice in enumerate(poll.choices, 1)]
    if len(set(names)) < len(names):
        raise invalid("poll", "Two choices of the poll have the same ID")
    if poll.multiple > len(names):
        raise invalid("poll", "'multiple' is more than there are choices")
    kind = UNDISCLOSED[0] if poll.hidden else "org.matrix.msc3381.poll.disclosed"
    text = EXTENSIBLE_TEXTS[0]
    lines = [f"{place}. {choice.text}" for place, choice in enumerate(poll.choices, 1)]
    return {
        POLL_KEYS[0]: {
            "kind": kind,
            "max_selections": poll.multiple,
            "question": {text: poll.question, "body": poll.question, "msgtype": "m.text"},
            "answers": [
                {"id": name, text: choice.text}
                for name, choice in zip(names, poll.choices, strict=True)
            ],
        },
        text: "\n".join([poll.question, *lines]),
    }


# ---------------------------------------------------------------- encrypted


def _encrypted(message: NewMessage) -> Content:
    assert message.encrypted is not None
    if message.text is not None or message.html is not None or message.mentions:
        raise invalid("encrypted", "What is encrypted has no text beside it")
    return checked_payload(message.encrypted)


def checked_payload(payload: Mapping[str, Any]) -> Content:
    """An encrypted payload, untouched.  Relations are the API's to say."""
    if RELATION in payload:
        raise invalid("encrypted", "Use 'reply_to' and 'thread'")
    if not isinstance(payload.get("algorithm"), str):
        raise invalid("encrypted", "'encrypted' needs an 'algorithm'")
    if as_object(payload) is None or not _is_canonical(payload):
        raise invalid("encrypted", "'encrypted' is nested too deeply, or has fractions")
    return dict(payload)


FILES = ("image", "video", "audio", "voice", "file", "sticker")
TYPES = {"poll": POLL_STARTS[0], "sticker": "m.sticker", "encrypted": ENCRYPTED}
WRITERS: dict[str, Callable[[NewMessage], Content]] = {
    "text": _text,
    **dict.fromkeys(FILES, _file),
    "sticker": _sticker,
    "location": _location,
    "contact": _contact,
    "event": _happening,
    "poll": _poll,
    "encrypted": _encrypted,
}
