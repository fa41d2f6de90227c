"""What people say of messages that are there: reactions, votes, answers, edits.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from homeserver.protocol.answers import POLL_ENDS, POLL_RESPONSES, RESPONSE_KEYS, RSVP
from homeserver.protocol.relations import ANNOTATION, REPLACE
from homeserver.services.conversations.contents import (
    ENCRYPTED,
    RELATION,
    Content,
    Written,
    checked_payload,
    custom_value,
    invalid,
    put_contact,
    put_happening,
    put_location,
    put_text,
)
from homeserver.services.conversations.keys import (
    CONTACT,
    CUSTOM,
    EXTENSIBLE_TEXTS,
    HAPPENING,
    HTML,
    MENTIONS,
    MESSAGE,
)
from homeserver.services.conversations.shapes.messages import EditMessage

TEXT_KEYS = ("format", "formatted_body", "m.mentions", MENTIONS)
ENDS = ("dev.comity.expires", "dev.comity.view_once", "expires", "view_once")


def write_vote(poll_id: str, choices: list[str]) -> Written:
    """A vote.  Spec: MSC3381, responding."""
    content = {RESPONSE_KEYS[0]: {"answers": choices}, RELATION: reference(poll_id)}
    return Written(POLL_RESPONSES[0], content)


def write_poll_end(poll_id: str) -> Written:
    """The end of a poll.  Spec: MSC3381, closing a poll."""
    text = "The poll has ended."
    return Written(
        POLL_ENDS[0],
        {POLL_ENDS[0]: {}, EXTENSIBLE_TEXTS[0]: text, RELATION: reference(poll_id)},
    )


def write_answer(event_id: str, answer: str) -> Written:
    """An answer to an invitation to an event."""
    return Written(RSVP, {RSVP: answer, RELATION: reference(event_id)})


def write_reaction(event_id: str, key: str) -> Written:
    """A reaction.  Spec: client-server API, event annotations and reactions."""
    return Written(
        "m.reaction",
        {RELATION: {"rel_type": ANNOTATION, "event_id": event_id, "key": key}},
    )


def reference(event_id: str) -> Content:
    """A relation that says only that it is about another event.  Spec: reference relations."""
    return {"rel_type": "m.reference", "event_id": event_id}


def write_edit(event_id: str, type: str, current: Mapping[str, Any], edit: EditMessage) -> Written:
    """What replaces a message.  ``current``: its content as it stands.

    Spec: client-server API, event replacements.  Raises :class:`Problem`.
    """
    replaces = {"rel_type": REPLACE, "event_id": event_id}
    if type == ENCRYPTED:
        if edit.encrypted is None:
            raise invalid("encrypted", "An encrypted message is edited with an encrypted one")
        return Written(type, {**checked_payload(edit.encrypted), RELATION: replaces})
    if type != MESSAGE:
        raise invalid("text", "Messages of this kind cannot be edited")
    if edit.encrypted is not None:
        raise invalid("encrypted", "That message is not encrypted")
    new = {key: value for key, value in current.items() if key not in (RELATION, *ENDS)}
    _change(new, edit)
    new.setdefault("msgtype", "m.text")
    old = f"* {new.get('body', '')}"
    content: Content = {"msgtype": new["msgtype"], "body": old, "m.new_content": new}
    if "formatted_body" in new:
        content["format"], content["formatted_body"] = HTML, f"* {new['formatted_body']}"
    if "m.mentions" in new:
        content["m.mentions"] = new["m.mentions"]
    for key in ("url", "file", "info", "geo_uri"):
        if key in new:
            content[key] = new[key]
    content[RELATION] = replaces
    return Written(type, content)


def _change(content: Content, edit: EditMessage) -> None:
    """Make a content say what the edit says; what the edit does not name stays."""
    changes: list[tuple[str, Any, str, Callable[[Content, Any], None]]] = [
        ("location", edit.location, "geo_uri", put_location),
        ("contact", edit.contact, CONTACT, put_contact),
        ("event", edit.event, HAPPENING, put_happening),
    ]
    if edit.text is not None or edit.html is not None:
        _change_text(content, edit)
    elif any(change is not None for _, change, _, _ in changes):
        content["body"] = ""
    elif edit.custom is None:
        raise invalid("text", "There is nothing to change")
    for name, change, key, put in changes:
        if change is not None:
            if key not in content:
                raise invalid(name, f"That message has no '{name}'")
            put(content, change)
    if edit.custom is not None:
        content[CUSTOM] = custom_value(edit.custom)


def _change_text(content: Content, edit: EditMessage) -> None:
    before = content.get("body")
    is_file = "url" in content or "file" in content
    if is_file and "filename" not in content:
        content["filename"] = before if isinstance(before, str) else ""
    for key in TEXT_KEYS:
        content.pop(key, None)
    put_text(content, edit)
    if not content["body"]:
        if not is_file:
            raise invalid("text", "The text is empty; to take a message back, delete it")
        content["body"] = content.pop("filename")
