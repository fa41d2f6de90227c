"""Single parts of a message, read from an event's content.

Whatever JSON stands there: what is malformed says nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from html import unescape
from itertools import islice
from typing import Any
from urllib.parse import unquote

import orjson

from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.protocol.relations import reply_target
from homeserver.services.conversations.keys import EXTENSIBLE_TEXTS, MENTIONS
from homeserver.services.conversations.shapes.media import (
    Media,
    media_id,
    media_url,
    thumbnail_url,
)
from homeserver.services.conversations.shapes.messages import (
    MAX_MENTIONS,
    ContactCard,
    Forwarded,
    Happening,
    Location,
    Mention,
)
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339

MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 60
MAX_LABEL = 80
MOST_LINES = 20
MOST_WAVEFORM = 256
GEO = re.compile(r"geo:(-?\d{1,3}(?:\.\d{1,20})?),(-?\d{1,3}(?:\.\d{1,20})?)(?:[,;].*)?\Z", re.S)
LINK = re.compile(
    r'<a href="https://matrix\.to/#/(@[^"?<>]{1,500})[^"<>]{0,500}">([^<>]{1,200})</a>'
)
DURATION_OWNERS = ("org.matrix.msc1767.audio", "m.audio_details")

# ---------------------------------------------------------------- any JSON


def as_dict(value: object) -> dict[str, Any]:
    """An object; empty for anything else."""
    return value if isinstance(value, dict) else {}


def as_text(value: object) -> str | None:
    """A text; None for anything else, and for an empty one."""
    return value if isinstance(value, str) and value else None


def as_count(value: object) -> int | None:
    """A whole number that is not negative; None for anything else."""
    return value if type(value) is int and 0 <= value <= MAX_INTEGER else None


def as_texts(value: object) -> list[str]:
    """The texts in a list."""
    if not isinstance(value, list):
        return []
    return [text for text in value[:MOST_LINES] if isinstance(text, str) and text]


def as_object(value: object) -> dict[str, Any] | None:
    """An object that can be written again; None for what is nested without measure."""
    if not isinstance(value, dict):
        return None
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for part in level:
            if isinstance(part, dict):
                inner.extend(v for v in part.values() if isinstance(v, dict | list))
            else:
                inner.extend(v for v in part if isinstance(v, dict | list))
        if not inner:
            return value
        level = inner
    return None


def person(value: object) -> str | None:
    """The address of the user whose ID stands there."""
    if not isinstance(value, str):
        return None
    try:
        return address(UserId.parse(value))
    except InvalidIdentifier:
        return None


# ---------------------------------------------------------------- texts


def fallback_text(content: Mapping[str, Any]) -> str | None:
    """What a client that does not understand an event shows.  Spec: extensible events."""
    for key in EXTENSIBLE_TEXTS:
        text = extensible_text(content.get(key))
        if text is not None:
            return text
    return as_text(content.get("body"))


def extensible_text(value: object) -> str | None:
    """A text in either spelling of extensible events: a string, or a list of representations."""
    if isinstance(value, list):
        for part in value[:MOST_LINES]:
            if isinstance(part, dict) and part.get("mimetype", "text/plain") == "text/plain":
                return as_text(part.get("body"))
        return None
    return as_text(value)


def without_reply_fallback(content: Mapping[str, Any], body: str) -> str:
    """A reply's text without the quotation that clients used to put before it.

    Spec: rich replies, fallbacks, before v1.13.
    """
    if not body.startswith("> <@") or reply_target(content) is None:
        return body
    lines = body.split("\n")
    place = 0
    while place < len(lines) and lines[place].startswith("> "):
        place += 1
    if place < len(lines) and not lines[place]:
        return "\n".join(lines[place + 1 :])
    return body


def read_mentions(content: Mapping[str, Any], body: str) -> list[Mention]:
    """Whom a message names, those with their place in the text first.

    Spec: user and room mentions; Comity's ``dev.comity.mentions`` adds the places.  Where another
    client sent it, a link's text is looked for in the plain text.
    """
    placed = content.get(MENTIONS)
    users = as_dict(content.get("m.mentions")).get("user_ids")
    wanted = users[:MAX_MENTIONS] if isinstance(users, list) else []
    found: list[Mention] = []
    if isinstance(placed, list):
        entries = (_placed_mention(entry, len(body)) for entry in placed[:MAX_MENTIONS])
        found = [mention for mention in entries if mention is not None]
    elif wanted and "matrix.to" in str(content.get("formatted_body", "")):
        found = _linked_mentions(content["formatted_body"], body, wanted)
    named = {mention.person for mention in found}
    for user in wanted:
        who = person(user)
        if who is not None and who not in named:
            named.add(who)
            found.append(Mention(person=who))
    return found


def _linked_mentions(html: object, body: str, users: list[Any]) -> list[Mention]:
    """Where the plain text has the texts of links to some people, in the order of the links."""
    found: list[Mention] = []
    end = 0
    for link in islice(LINK.finditer(html), MAX_MENTIONS) if isinstance(html, str) else ():
        user_id, name = unquote(unescape(link[1])), unescape(link[2])
        who = person(user_id) if user_id in users else None
        start = body.find(name, end)
        if who is not None and start >= 0:
            end = start + len(name)
            found.append(Mention(person=who, offset=start, length=len(name)))
    return found


def _placed_mention(entry: object, length: int) -> Mention | None:
    fields = as_dict(entry)
    who = person(fields.get("user_id"))
    start, count = as_count(fields.get("offset")), as_count(fields.get("length"))
    if who is None or start is None or count is None or start + count > length:
        return None
    return Mention(person=who, offset=start, length=count)


# ---------------------------------------------------------------- files


def read_media(content: Mapping[str, Any], name: str | None) -> Media | None:
    """The file of a message, plain or encrypted; None if it names none."""
    file = content.get("file")
    encryption: dict[str, Any] | None = None
    uri = content.get("url")
    if isinstance(file, dict):
        uri = file.get("url")
        encryption = as_object({key: value for key, value in file.items() if key != "url"})
    identifier = media_id(uri)
    if identifier is None:
        return None
    info = as_dict(content.get("info"))
    thumbnail = media_id(info.get("thumbnail_url"))
    visual = encryption is None and ("w" in info or "h" in info)
    return Media(
        id=identifier,
        url=media_url(identifier),
        thumbnail_url=media_url(thumbnail)
        if thumbnail is not None
        else thumbnail_url(identifier)
        if visual
        else None,
        name=name,
        mime_type=as_text(info.get("mimetype")),
        size=as_count(info.get("size")),
        width=as_count(info.get("w")),
        height=as_count(info.get("h")),
        duration_ms=_duration(content, info),
        waveform=_waveform(content),
        blurhash=as_text(info.get("xyz.amorgan.blurhash")),
        encryption=encryption,
    )


def _duration(content: Mapping[str, Any], info: Mapping[str, Any]) -> int | None:
    duration = as_count(info.get("duration"))
    for key in DURATION_OWNERS:
        if duration is None:
            duration = as_count(as_dict(content.get(key)).get("duration"))
    return duration


def _waveform(content: Mapping[str, Any]) -> list[int] | None:
    waveform = as_dict(content.get(DURATION_OWNERS[0])).get("waveform")
    if not isinstance(waveform, list) or not waveform:
        return None
    kept = waveform[:MOST_WAVEFORM]
    return [min(max(v, 0), 1024) for v in kept if type(v) is int] or None


# ---------------------------------------------------------------- places, people, events


def read_location(content: Mapping[str, Any]) -> Location | None:
    """Where a location message points.  Spec: ``m.location``; RFC 5870."""
    extensible = as_dict(content.get("m.location") or content.get("org.matrix.msc3488.location"))
    uri = content.get("geo_uri", extensible.get("uri"))
    match = GEO.match(uri) if isinstance(uri, str) else None
    if match is None:
        return None
    latitude, longitude = float(match[1]), float(match[2])
    if not (math.fabs(latitude) <= 90 and math.fabs(longitude) <= 180):
        return None
    return Location(
        latitude=latitude,
        longitude=longitude,
        description=as_text(extensible.get("description")),
    )


def read_contact(value: object) -> ContactCard | None:
    """A contact's card."""
    fields = as_dict(value)
    name = as_text(fields.get("name"))
    if name is None:
        return None
    return ContactCard(
        name=name,
        address=person(fields.get("user_id")),
        phones=as_texts(fields.get("phones")),
        emails=as_texts(fields.get("emails")),
    )


def read_happening(value: object) -> Happening | None:
    """An event of a calendar."""
    fields = as_dict(value)
    title, starts_at = as_text(fields.get("title")), as_count(fields.get("starts_at"))
    if title is None or starts_at is None:
        return None
    ends_at = as_count(fields.get("ends_at"))
    return Happening(
        title=title,
        starts_at=rfc3339(starts_at),
        ends_at=rfc3339(ends_at) if ends_at is not None else None,
        place=as_text(fields.get("place")),
        description=as_text(fields.get("description")),
    )


def read_forwarded(value: object) -> Forwarded | None:
    """Where a message came from that was passed on."""
    fields = as_dict(value)
    if not fields:
        return None
    sent_at = as_count(fields.get("sent_at"))
    return Forwarded(
        from_person=person(fields.get("user_id")),
        sent_at=rfc3339(sent_at) if sent_at is not None else None,
    )


def read_label(value: object) -> str | None:
    """Where a message comes from, in one short line."""
    text = as_text(value)
    if text is None:
        return None
    return "".join(c if c.isprintable() else " " for c in text[:MAX_LABEL]).strip() or None


def read_custom(value: object) -> dict[str, Any] | None:
    """An application's own data: an object, or its JSON where Matrix has no such numbers."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    return as_object(value)
