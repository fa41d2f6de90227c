"""What a mail about unread notifications says.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from homeserver.protocol.answers import POLL_STARTS
from homeserver.protocol.events import Event
from homeserver.protocol.message_ends import message_end
from homeserver.services.conversations.reading import without_reply_fallback
from homeserver.services.mail.templates import Button, in_both_forms

MOST_SHOWN = 20
LONGEST_TEXT = 500
FILES = {
    "m.image": "sent a picture",
    "m.video": "sent a video",
    "m.audio": "sent a recording",
    "m.file": "sent a file",
    "m.location": "sent a place",
}
OTHERS = {
    "m.room.encrypted": "sent an encrypted message",
    "m.sticker": "sent a sticker",
    "m.call.invite": "called",
    "m.room.tombstone": "moved the room to another one",
}
FOOTER = (
    "You get this mail because {address} is an address of your account {user}, and "
    "notifications by e-mail are switched on."
)


class Line(Struct, frozen=True):
    """One notification: who did what where."""

    room_id: str
    room: str
    sender: str
    event: Event


def said(event: Event, *, with_text: bool) -> str:
    """What somebody did, to be read after their name."""
    content = event.content
    if event.type == "m.room.member":
        return "invited you"
    if event.type in POLL_STARTS:
        return "asked a question"
    if event.type != "m.room.message":
        return OTHERS.get(event.type, "sent something")
    end = message_end(content)
    kind, body = content.get("msgtype"), content.get("body")
    if end is not None and end.view_once:
        return "sent a message that can be viewed once"
    if isinstance(kind, str) and kind in FILES:
        return FILES[kind]
    if not with_text or not isinstance(body, str):
        return "sent a message"
    text = without_reply_fallback(content, body).strip()
    text = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} ..."
    return text if kind == "m.emote" else f": {text}"


def digest(
    lines: Sequence[Line],
    *,
    server: str,
    user_id: str,
    address: str,
    unread: int,
    unsubscribe: str,
    with_text: bool,
) -> tuple[str, str, str]:
    """Subject, text and HTML of a mail; ``unread``: how much there is in all rooms."""
    parts: list[str | Button] = []
    rooms: dict[str, list[Line]] = {}
    for line in lines[:MOST_SHOWN]:
        rooms.setdefault(line.room_id, []).append(line)
    for of_room in rooms.values():
        parts.append("\n".join([f"{of_room[0].room}", *(_line(x, with_text) for x in of_room)]))
    if unread > min(len(lines), MOST_SHOWN):
        parts.append(f"In all rooms, {unread} messages are unread.")
    parts.append(Button("Get no more of these mails", unsubscribe))
    title = _title(lines, len({line.room_id for line in lines}))
    text, html = in_both_forms(title, parts, FOOTER.format(address=address, user=user_id))
    return f"[{server}] {title}", text, html


def _line(line: Line, with_text: bool) -> str:
    what = said(line.event, with_text=with_text)
    return f"{line.sender}{what}" if what.startswith(":") else f"{line.sender} {what}"


def _title(lines: Sequence[Line], rooms: int) -> str:
    if len(lines) == 1:
        (line,) = lines
        if line.event.type == "m.room.member":
            return f"{line.sender} invited you to {line.room}"
        return f"{line.sender} in {line.room}"
    if rooms == 1:
        return f"{len(lines)} unread messages in {lines[0].room}"
    return f"{len(lines)} unread messages in {rooms} rooms"
