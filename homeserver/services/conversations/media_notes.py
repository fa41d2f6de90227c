"""What this instance knows of files, for messages whose senders do not say it."""

from __future__ import annotations

import msgspec

from homeserver.services.conversations.contents import FILES
from homeserver.services.conversations.shapes.media import parse_media_id
from homeserver.services.conversations.shapes.messages import NewMedia, NewMessage
from homeserver.storage import media as storage
from homeserver.storage import media_facts as facts_storage
from homeserver.storage.database import Database


class MediaNotes:
    """Fills in what is known of uploaded files."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def with_facts(self, message: NewMessage) -> NewMessage:
        """A message with name, type, size and measures of its file, unless its sender has said so.

        Raises :class:`InvalidParam` for malformed IDs.
        """
        media = message.media
        if media is None:
            if message.media_id is None:
                return message
            media = NewMedia(id=message.media_id)
        elif message.media_id is not None:
            return message  # says it twice: refused later
        if media.encryption is None and message.kind in FILES:
            media = await self._known(media)
        return msgspec.structs.replace(message, media=media, media_id=None)

    async def _known(self, media: NewMedia) -> NewMedia:
        origin, name = parse_media_id(media.id)
        row = await storage.get_media(self._database, origin, name)
        if row is None:
            return media
        width, height = media.width, media.height
        if width is None and height is None and row.content_type.startswith(("image/", "video/")):
            facts = await facts_storage.get_facts(self._database, row.sha256)
            if facts is not None:
                width, height = facts.width, facts.height
        return msgspec.structs.replace(
            media,
            name=media.name or row.upload_name or None,
            mime_type=media.mime_type or row.content_type,
            size=media.size if media.size is not None else row.size_bytes,
            width=width,
            height=height,
        )
