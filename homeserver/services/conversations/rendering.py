"""Matrix events as messages.

Pure, and total: whatever JSON another instance put into an event, something sensible comes out.
What other events say of a message (edits, reactions, votes) is added by its readers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from homeserver.protocol.answers import POLL_ENDS, POLL_RESPONSES, POLL_STARTS, RSVP
from homeserver.protocol.calls import call_key
from homeserver.protocol.events import Event
from homeserver.protocol.message_ends import MessageEnd, ends, message_end
from homeserver.protocol.relations import ANNOTATION, REPLACE, Relation, relation_of, reply_target
from homeserver.protocol.relations import THREAD as THREAD_RELATION
from homeserver.services.conversations.keys import (
    CONTACT,
    CUSTOM,
    FORWARDED,
    HAPPENING,
    HTML,
    LABEL,
    MENTIONS,
)
from homeserver.services.conversations.polls import read_poll
from homeserver.services.conversations.reading import (
    as_dict,
    as_object,
    as_text,
    fallback_text,
    read_contact,
    read_custom,
    read_forwarded,
    read_happening,
    read_label,
    read_location,
    read_media,
    read_mentions,
    without_reply_fallback,
)
from homeserver.services.conversations.safe_html import shown_html
from homeserver.services.conversations.shapes.messages import (
    CallNote,
    Deleted,
    Expires,
    Kind,
    Message,
)
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.conversations.system_messages import read_system

encode = msgspec.json.Encoder().encode

VERIFICATION = ("ready", "start", "accept", "key", "mac", "cancel", "done")
# What never stands in a conversation by itself: it says something of another event.
FOLDED = frozenset(
    {
        "m.reaction",
        "m.room.redaction",
        RSVP,
        *POLL_RESPONSES,
        *POLL_ENDS,
        "m.call.candidates",
        "m.call.answer",
        "m.call.hangup",
        "m.call.reject",
        "m.call.select_answer",
        "m.call.negotiate",
        "m.call.sdp_stream_metadata_changed",
        "org.matrix.call.sdp_stream_metadata_changed",
        "m.call.asserted_identity",
        *(f"m.key.verification.{step}" for step in VERIFICATION),
        "m.beacon",
        "org.matrix.msc3672.beacon",
    }
)
# State of which people are told; the rest is settings.
SHOWN_STATE = frozenset(
    {
        "m.room.create",
        "m.room.member",
        "m.room.name",
        "m.room.topic",
        "m.room.avatar",
        "m.room.encryption",
        "m.room.tombstone",
    }
)
FOLDED_RELATIONS = (REPLACE, ANNOTATION)
KINDS: dict[str, Kind] = {
    "m.text": "text",
    "m.notice": "text",
    "m.emote": "text",
    "m.image": "image",
    "m.video": "video",
    "m.audio": "audio",
    "m.file": "file",
    "m.location": "location",
}
MEDIA_KINDS = ("image", "video", "audio", "voice", "file", "sticker")
VOICE = ("org.matrix.msc3245.voice", "m.voice")

Parts = dict[str, Any]


def is_message(event: Event) -> bool:
    """Whether an event is a message, rather than something about one."""
    if event.state_key is not None:
        return event.type in SHOWN_STATE
    if event.type in FOLDED:
        return False
    if "m.relates_to" not in event.content:
        return True
    relation = relation_of(event.content)
    return relation is None or relation.rel_type not in FOLDED_RELATIONS


def render(
    event: Event, position: int, *, edit: Event | None = None, previous: Event | None = None
) -> Message:
    """An event as a message; with the edit that counts, as that has it.

    ``position``: in the log.  ``previous``: of a member event, the one that it replaced.  The
    caller has seen to it that the event is whole: what was deleted goes to
    :func:`render_deleted`.
    """
    content: Mapping[str, Any] = event.content
    parts: Parts = {}
    if edit is not None:
        content = _edited_content(event, edit)
        parts["edited_at"] = rfc3339(edit.origin_server_ts)
    kind = _read(event, content, parts, previous)
    if kind == "call":
        parts["call"] = replace(parts["call"], id=call_key(event.room_id, parts["call"].id))
    original = event.content  # relations and ends stay as they were
    if "m.relates_to" in original:
        _add_relations(original, parts)
    if LABEL in original:
        parts["label"] = read_label(original[LABEL])
    if ends(original):
        _add_ends(event, parts)
    return Message(
        id=event.event_id,
        conversation_id=event.room_id,
        position=position,
        sender=address(event.sender),
        sent_at=rfc3339(event.origin_server_ts),
        kind=kind,
        **parts,
    )


def render_deleted(event: Event, position: int, deleted: Deleted) -> Message:
    """A message whose content is gone, or is not for this reader."""
    return Message(
        id=event.event_id,
        conversation_id=event.room_id,
        position=position,
        sender=address(event.sender),
        sent_at=rfc3339(event.origin_server_ts),
        kind=BY_TYPE.get(event.type, "unknown"),
        deleted=deleted,
    )


def _edited_content(event: Event, edit: Event) -> Mapping[str, Any]:
    if event.type == "m.room.encrypted":
        return edit.content
    return as_dict(edit.content.get("m.new_content"))


def _read(event: Event, content: Mapping[str, Any], parts: Parts, previous: Event | None) -> Kind:
    """Fill in what an event says, and its kind."""
    if event.state_key is not None:
        parts["system"] = read_system(event, previous)
        return "system"
    reader = READERS.get(event.type)
    if reader is not None:
        return reader(content, parts)
    parts["text"] = fallback_text(content)
    return "unknown"


# ---------------------------------------------------------------- m.room.message


def _read_message(content: Mapping[str, Any], parts: Parts) -> Kind:
    msgtype = content.get("msgtype")
    kind: Kind | None = KINDS.get(msgtype) if isinstance(msgtype, str) else None
    if kind is None:
        kind = "unknown"
    elif msgtype == "m.emote":
        parts["emote"] = True
    body = content.get("body")
    if not isinstance(body, str):
        body = None
    if kind == "audio" and (VOICE[0] in content or VOICE[1] in content):
        kind = "voice"
    if kind in MEDIA_KINDS:
        body = _read_file(content, parts, body)
    elif kind == "location":
        parts["location"] = read_location(content)
        if parts["location"] is None:
            kind = "unknown"
    if len(content) > 2:
        if body is not None and "m.relates_to" in content:
            body = without_reply_fallback(content, body)
        kind = _read_more(content, parts, kind, body or "")
    parts["text"] = body
    return kind


def _read_file(content: Mapping[str, Any], parts: Parts, body: str | None) -> str | None:
    """The file of a message; returns its caption."""
    filename = as_text(content.get("filename"))
    parts["media"] = read_media(content, filename or body)
    return body if filename and filename != body else None


def _read_more(content: Mapping[str, Any], parts: Parts, kind: Kind, body: str) -> Kind:
    """What a message has beside its body."""
    if content.get("format") == HTML:
        html = as_text(content.get("formatted_body"))
        if html is not None and (kind not in MEDIA_KINDS or "filename" in content):
            parts["html"] = shown_html(html)
    if "m.mentions" in content or MENTIONS in content:
        parts["mentions"] = read_mentions(content, body)
        parts["mentions_all"] = as_dict(content.get("m.mentions")).get("room") is True
    if FORWARDED in content:
        parts["forwarded"] = read_forwarded(content[FORWARDED])
    if CUSTOM in content:
        parts["custom"] = read_custom(content[CUSTOM])
    if CONTACT in content and kind == "text":
        parts["contact"] = read_contact(content[CONTACT])
        if parts["contact"] is not None:
            return "contact"
    if HAPPENING in content and kind == "text":
        parts["event"] = read_happening(content[HAPPENING])
        if parts["event"] is not None:
            return "event"
    return kind


def _add_relations(content: Mapping[str, Any], parts: Parts) -> None:
    parts["reply_to"] = reply_target(content)
    relation: Relation | None = relation_of(content)
    if relation is not None and relation.rel_type == THREAD_RELATION:
        parts["thread"] = relation.event_id


def _add_ends(event: Event, parts: Parts) -> None:
    end: MessageEnd | None = message_end(event.content)
    if end is None:
        return
    parts["view_once"] = end.view_once
    if end.after_ms is not None:
        at = None if end.from_read else rfc3339(event.origin_server_ts + end.after_ms)
        parts["expires"] = Expires(
            after_ms=end.after_ms, from_="read" if end.from_read else "sent", at=at
        )


# ---------------------------------------------------------------- other types


def _read_sticker(content: Mapping[str, Any], parts: Parts) -> Kind:
    body = as_text(content.get("body"))
    parts["media"] = read_media(content, body)
    parts["text"] = body
    if CUSTOM in content:
        parts["custom"] = read_custom(content[CUSTOM])
    if FORWARDED in content:
        parts["forwarded"] = read_forwarded(content[FORWARDED])
    return "sticker"


def _read_encrypted(content: Mapping[str, Any], parts: Parts) -> Kind:
    payload = {key: value for key, value in content.items() if key != "m.relates_to"}
    parts["encrypted"] = as_object(payload)
    return "encrypted"


def _read_poll(content: Mapping[str, Any], parts: Parts) -> Kind:
    parts["poll"] = poll = read_poll(content)
    parts["text"] = fallback_text(content)
    if CUSTOM in content:
        parts["custom"] = read_custom(content[CUSTOM])
    if FORWARDED in content:
        parts["forwarded"] = read_forwarded(content[FORWARDED])
    return "poll" if poll is not None else "unknown"


def _read_call(content: Mapping[str, Any], parts: Parts) -> Kind:
    sdp = as_text(as_dict(content.get("offer")).get("sdp")) or ""
    lifetime = content.get("lifetime")
    parts["call"] = CallNote(
        id=as_text(content.get("call_id")) or "",
        media="video" if "m=video" in sdp else "audio",
        rings_ms=lifetime if type(lifetime) is int and 0 <= lifetime < 2**53 else None,
    )
    return "call"


Read = Callable[[Mapping[str, Any], Parts], Kind]
READERS: dict[str, Read] = {
    "m.room.message": _read_message,
    "m.room.encrypted": _read_encrypted,
    "m.sticker": _read_sticker,
    "m.call.invite": _read_call,
    **dict.fromkeys(POLL_STARTS, _read_poll),
}
BY_TYPE: dict[str, Kind] = {
    "m.room.encrypted": "encrypted",
    "m.sticker": "sticker",
    "m.call.invite": "call",
    **dict.fromkeys(POLL_STARTS, "poll"),
}
