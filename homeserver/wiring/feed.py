"""The feed of the Conversations API: what happens, live and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp import web

from client_api.conversations import keys
from client_api.conversations.auth import Caller, authenticate_token
from client_api.conversations.ws.actions import Actions
from client_api.conversations.ws.hub import Hub, SessionLimits
from client_api.conversations.ws.routes import SCOPE
from homeserver.services.conversations.feed.feed import Feed
from homeserver.services.conversations.feed.judging import Judge
from homeserver.services.conversations.feed.looking import Looking
from homeserver.services.conversations.feed.moments import Moments
from homeserver.services.conversations.feed.replay import Replay
from homeserver.services.sessions import Origin

if TYPE_CHECKING:
    from homeserver.wiring import Wiring
    from homeserver.wiring.messages import MessageParts


class FeedParts:
    """The feed, after all that it follows."""

    def __init__(self, wiring: Wiring) -> None:
        reading, database, log = wiring.reading, wiring.database, wiring.log
        self.judge = Judge(
            reader_filter=reading.hidden_events,
            audience=wiring.consent,
            invites=wiring.consent_parts.requests,
            views=reading.visibility,
        )
        self.looking = Looking(
            database=database, store=wiring.store, erased=wiring.erased.positions
        )
        self.replay = Replay(
            database=database,
            log=log,
            recent=reading.recent,
            rooms=reading.rooms_of_users,
            views=reading.visibility,
            judge=self.judge,
            looking=self.looking,
        )
        self.feed = Feed(
            log=log,
            store=wiring.store,
            rooms=reading.rooms_of_users,
            judge=self.judge,
            looking=self.looking,
            replay=self.replay,
            most_replayed=wiring.config.websocket.max_replayed,
        )
        self.moments = moments = Moments(
            feed=self.feed,
            database=database,
            typists=wiring.device_parts.typing,
            presences=wiring.device_parts.presence,
        )
        typing, presence = wiring.device_parts.typing, wiring.device_parts.presence
        typing.on_change = _both(typing.on_change, moments.room_changed)
        presence.on_change = _both(presence.on_change, moments.presence_changed)
        self.hub: Hub | None = None

    def provide(self, app: web.Application, wiring: Wiring, messages: MessageParts) -> None:
        """Put each part under its key."""
        limits, device_parts = wiring.config.websocket, wiring.device_parts

        async def recheck(token: str, user: str | None) -> Caller:
            caller = await authenticate_token(app, token, user, Origin)
            caller.require_scope(SCOPE)
            return caller

        self.hub = hub = Hub(
            feed=self.feed,
            actions=Actions(
                sending=messages.sending,
                changes=messages.changes,
                read_marks=messages.read_marks,
                typing=device_parts.typing,
                presences=device_parts.presence,
                terms=wiring.account_parts.terms,
            ),
            acks=device_parts.progress,
            presences=device_parts.presence,
            tokens=wiring.sessions,
            recheck=recheck,
            limits=SessionLimits(
                frame_bytes=limits.max_frame_bytes,
                frames_per_second=limits.frames_per_second,
                frames_at_once=limits.frames_at_once,
                in_flight=limits.max_in_flight,
                unread_bytes=limits.max_unread_bytes,
                sockets_per_user=limits.sockets_per_user,
            ),
        )
        wiring.sessions.on_revoked = hub.tokens_changed
        wiring.conversations.application_parts.on_tokens_changed(hub.api_tokens_changed)
        app[keys.FEED] = self.feed
        app[keys.SOCKETS] = hub

    def start(self) -> None:
        """Begin at the log's position, once the log has started."""
        self.replay.start()
        self.feed.start()

    def stop_waiting(self) -> None:
        """Send everybody away."""
        if self.hub is not None:
            self.hub.shut()

    async def close(self) -> None:
        """Stop."""
        if self.hub is not None:
            await self.hub.close()
        await self.moments.close()
        await self.feed.close()


def _both(first: Callable[[str], None], second: Callable[[str], None]) -> Callable[[str], None]:
    def call(changed: str) -> None:
        first(changed)
        second(changed)

    return call
