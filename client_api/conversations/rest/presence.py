"""Who is online.  Who may see it is each one's consent to say."""

from __future__ import annotations

from msgspec import UnsetType

from client_api.conversations.api import Api, Call
from homeserver.app_keys import PRESENCE
from homeserver.services.conversations.shapes.people import parse_person
from homeserver.services.conversations.shapes.presence import (
    PRESENCE_OF,
    NewPresence,
    OnlineCount,
    Presence,
    PresenceQuery,
    Presences,
    presence_shown,
)
from homeserver.services.presence_state import BUSY, ONLINE, UNAVAILABLE

api = Api("Presence", "Who is online.  Who may see it, each decides.")


@api.put("/me/presence", scope="presence")
async def set_presence(call: Call[NewPresence]) -> Presence:
    """Say how the caller is, and why.

    It holds as long as a WebSocket, an event stream or a sync of the caller's is open, and half a
    minute after the last sign of life; `busy` is not undone by activity.
    """
    service, text = call.app[PRESENCE], call.body.text
    if isinstance(text, UnsetType):
        text = await service.status_text(call.user_id)
    await service.set_status(call.user_id, PRESENCE_OF[call.body.state], text or None)
    states = await service.states(call.user_id, [call.user_id])
    return presence_shown(call.user_id, states.get(call.user_id))


@api.get("/people/{person}/presence", scope="presence")
async def get_presence(call: Call) -> Presence:
    """Tell how somebody is."""
    user_id = call.person()
    states = await call.app[PRESENCE].states(call.user_id, [user_id])
    return presence_shown(user_id, states.get(user_id))


@api.post("/presence/query", scope="presence", idempotent=False)
async def query_presence(call: Call[PresenceQuery]) -> Presences:
    """Tell how up to 500 people are.

    Who shares no conversation with the caller, or does not want to be seen, is `offline`.
    """
    wanted = [parse_person(text, "people") for text in call.body.people]
    states = await call.app[PRESENCE].states(call.user_id, list(dict.fromkeys(wanted)))
    return Presences(items=[presence_shown(user_id, states.get(user_id)) for user_id in wanted])


@api.get("/presence/online-count", scope="presence")
async def count_online(call: Call) -> OnlineCount:
    """Count the people of this instance who are here; not those who do not show it to all."""
    counts = call.app[PRESENCE].count()
    online, away, busy = counts[ONLINE], counts[UNAVAILABLE], counts[BUSY]
    return OnlineCount(total=online + away + busy, online=online, away=away, busy=busy)
