"""What a webhook is told of an event or a file.  ``docs/external-checks.md`` has the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.services.media_facts import MediaFacts, MediaSubject
from homeserver.services.policy.subject import Subject


def about_event(check: str, subject: Subject) -> dict[str, Any]:
    """The event without signatures and hashes, and what is known of its files."""
    event: dict[str, Any] = {
        "type": subject.type,
        "sender": subject.sender,
        "room_id": subject.room_id,
        "content": subject.content,
    }
    if subject.state_key is not None:
        event["state_key"] = subject.state_key
    if subject.event_id is not None:
        event["event_id"] = subject.event_id
    return {
        "check": check,
        "kind": "event",
        "direction": subject.direction,
        "origin": subject.origin,
        "event": event,
        "media": [_facts(facts) for facts in subject.media or ()],
    }


def about_media(check: str, subject: MediaSubject, download_url: str) -> dict[str, Any]:
    """What is known of a file, and where to fetch it."""
    return {
        "check": check,
        "kind": "media",
        "direction": subject.direction,
        "origin": subject.origin,
        "content_uri": f"mxc://{subject.origin}/{subject.media_id}",
        "uploader": subject.uploader,
        "media": _facts(subject.facts),
        "download_url": download_url,
    }


def _facts(facts: MediaFacts) -> Mapping[str, Any]:
    picture = facts.perceptual_hash
    return {
        "mime_type": facts.mime_type,
        "size_bytes": facts.size_bytes,
        "sha256": facts.sha256.hex(),
        "width": facts.width,
        "height": facts.height,
        "perceptual_hash": f"{picture:016x}" if picture is not None else None,
    }
