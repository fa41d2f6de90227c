"""The readable side of an export: a page per room, and one that leads to them.  Pure."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from homeserver.protocol.events import Event

HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem;
  overflow-wrap: anywhere; }}
ol {{ list-style: none; padding: 0; }}
li {{ margin-block: .6rem; }}
time {{ opacity: .75; font-size: .85rem; }}
.text {{ white-space: pre-wrap; margin: 0; }}
.event {{ opacity: .75; font-style: italic; margin: 0; }}
img {{ max-width: 100%; max-height: 24rem; }}
</style>
<main>
<h1>{title}</h1>
"""
FOOT = "</main>\n</html>\n"
MESSAGE = '<li><strong>{name}</strong> <time datetime="{iso}">{time}</time>{body}</li>\n'
TEXT = '<p class="text">{text}</p>'
EVENT = '<p class="event">{text}</p>'
MEMBERSHIPS = {
    "join": "is in the room",
    "leave": "left, or was removed",
    "invite": "was invited",
    "ban": "was banned",
    "knock": "asked to be let in",
}
MEDIA_TYPES = ("m.image", "m.video", "m.audio", "m.file")
PICTURES = (".jpg", ".png", ".gif", ".webp", ".avif")

Place = Callable[[str], str | None]  # an mxc URI -> where the file is in the archive


def head(title: str) -> str:
    """The beginning of a page."""
    return HEAD.format(title=html.escape(title))


def message(event: Event, *, name: str, gone: bool, place: Place) -> str:
    """An event as people read it; ``name``: the sender's; ``gone``: its content was deleted."""
    when = _time(event.origin_server_ts)
    return MESSAGE.format(
        name=html.escape(name),
        iso=when.isoformat() if when else "",
        time=when.strftime("%Y-%m-%d %H:%M UTC") if when else "at an unknown time",
        body=EVENT.format(text="(deleted)") if gone else _body(event, place),
    )


def _time(milliseconds: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _body(event: Event, place: Place) -> str:
    content = event.content
    match event.type:
        case "m.room.message" | "m.sticker":
            return _message(content, place)
        case "m.room.encrypted":
            return EVENT.format(text="(encrypted: only your devices have the key)")
        case "m.room.member":
            said = MEMBERSHIPS.get(event.membership or "", "changed their membership")
            return EVENT.format(text=f"{html.escape(str(event.state_key))} {said}")
        case "m.room.name" | "m.room.topic":
            value = content.get("name", content.get("topic"))
            return EVENT.format(text=f"{event.type[7:]}: {html.escape(str(value))}")
        case "m.reaction":
            relation = content.get("m.relates_to")
            key = relation.get("key") if isinstance(relation, dict) else None
            return EVENT.format(text=f"reacted: {html.escape(str(key))}")
        case _:
            return EVENT.format(text=html.escape(event.type))


def _message(content: Mapping[str, Any], place: Place) -> str:
    edited = content.get("m.new_content")
    if isinstance(edited, dict):
        return EVENT.format(text="changed an earlier message to:") + _message(edited, place)
    body = content.get("body")
    text = TEXT.format(text=html.escape(body)) if isinstance(body, str) else ""
    url = content.get("url")
    if not isinstance(url, str):
        return text or EVENT.format(text="(a message without text)")
    where = place(url)
    if where is None:
        return text + EVENT.format(text="(a file that is not in this export)")
    link = html.escape(f"../../{where}")
    if where.endswith(PICTURES):
        return f'{text}<a href="{link}"><img src="{link}" alt="" loading="lazy"></a>'
    return f'{text}<a href="{link}">open the file</a>'


def contents(user_id: str, rooms: list[tuple[str, str, int]]) -> str:
    """The first page; ``rooms``: folder, name, how many messages."""
    parts = [
        head(f"What this server has of {user_id}"),
        "<p>Your account, as files of JSON: account/, consent/. Your files: media/. Your rooms, to "
        "read here, and as JSON beside each page:</p>\n<ol>\n",
    ]
    parts.extend(
        f'<li><a href="{html.escape(folder)}/index.html">{html.escape(name)}</a>'
        f" ({count} events)</li>\n"
        for folder, name, count in rooms
    )
    return "".join([*parts, "</ol>\n", FOOT])
