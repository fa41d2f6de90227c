"""A bridge made with mautrix, between Comity and a chat that is a list in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mautrix.appservice import AppService, IntentAPI
from mautrix.appservice.state_store import FileASStateStore
from mautrix.types import (
    Event,
    EventType,
    MessageEvent,
    MessageType,
    RoomCreatePreset,
    RoomID,
    TextMessageEventContent,
    UserID,
)

PATIENCE_SECONDS = 60.0
DOMAIN = "one.test"
BOT = f"@_net_bot:{DOMAIN}"


@dataclass
class Remote:
    """The other network: what was said there, by whom, in which channel."""

    said: list[tuple[str, str, str]] = field(default_factory=list)
    channels: dict[str, RoomID] = field(default_factory=dict)


class Bridge:
    """Relays both ways: a ghost for everybody there, a room for each channel."""

    def __init__(self, server: str, tokens: tuple[str, str], remote: Remote, state: Path) -> None:
        self.remote = remote
        self.seen: list[Any] = []
        self._news = asyncio.Event()
        self.az = AppService(
            server=server,
            domain=DOMAIN,
            as_token=tokens[0],
            hs_token=tokens[1],
            bot_localpart="_net_bot",
            id="net",
            state_store=FileASStateStore(path=str(state), binary=False),
            query_user=self._query_user,
            query_alias=self._query_alias,
            ephemeral_events=True,
        )
        self.az.matrix_event_handler(self._heard)

    def ghost(self, name: str) -> IntentAPI:
        """Somebody of the other network, in Matrix."""
        return self.az.intent.user(UserID(f"@_net_{name}:{DOMAIN}"))

    async def portal(self, channel: str, *invitees: str) -> RoomID:
        """The room of a channel."""
        if channel not in self.remote.channels:
            self.remote.channels[channel] = await self.az.intent.create_room(
                alias_localpart=f"_net_{channel}",
                name=channel,
                preset=RoomCreatePreset.PRIVATE if invitees else RoomCreatePreset.PUBLIC,
                invitees=[UserID(invitee) for invitee in invitees],
            )
        return self.remote.channels[channel]

    async def from_there(
        self, channel: str, name: str, text: str, timestamp: int | None = None
    ) -> str:
        """Somebody said something there."""
        room_id, ghost = await self.portal(channel), self.ghost(name)
        await ghost.ensure_joined(room_id)
        content = TextMessageEventContent(msgtype=MessageType.TEXT, body=text)
        return str(await ghost.send_message(room_id, content, timestamp=timestamp))

    async def _heard(self, event: Event) -> None:
        self.seen.append(event)
        mine = event.sender.startswith("@_net_") if hasattr(event, "sender") else True
        if isinstance(event, MessageEvent) and not mine and event.type == EventType.ROOM_MESSAGE:
            for channel, room_id in self.remote.channels.items():
                if room_id == event.room_id:
                    self.remote.said.append((channel, event.sender, event.content.body))
        self._news.set()

    async def _query_user(self, user_id: UserID) -> dict[str, Any] | None:
        if "nobody" in user_id:
            return None
        await self.az.intent.user(user_id).ensure_registered()
        return {"exists": True}

    async def _query_alias(self, alias: str) -> dict[str, Any] | None:
        channel = alias.removeprefix("#_net_").partition(":")[0]
        if channel == "nowhere":
            return None
        room_id = await self.portal(channel)
        return {"room_id": room_id}

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something was heard that meets a condition."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._news.clear()
                await self._news.wait()
