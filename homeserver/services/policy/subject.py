"""What a rule looks at: one event, where it comes from, and what a person would read of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from homeserver.protocol.canonical import encode_canonical_json
from homeserver.services.media_facts import MediaFacts


@dataclass(frozen=True, slots=True)
class Subject:
    """One event under judgement."""

    direction: str  # in, out, local
    origin: str  # the sender's server
    sender: str
    type: str
    content: dict[str, Any]
    room_id: str
    event_id: str | None = None
    state_key: str | None = None
    media: MediaFacts | None = None

    def text(self) -> str:
        """What a person would read: body, formatted body, name, topic; an edit's new text too."""
        contents = [self.content, self.content.get("m.new_content")]
        fields = ("body", "formatted_body", "name", "topic")
        return "\n".join(
            content[key]
            for content in contents
            if isinstance(content, dict)
            for key in fields
            if isinstance(content.get(key), str)
        )

    def size_bytes(self) -> int:
        """The content's size as canonical JSON."""
        return len(encode_canonical_json(self.content))
