"""What the caller allows others."""

from __future__ import annotations

from client_api.conversations import people_keys as keys
from client_api.conversations.api import Api, Call
from homeserver.app_keys import RATE_LIMITS
from homeserver.services.consent.editing import parse_peer, parse_scope
from homeserver.services.consent.scopes import TIERED
from homeserver.services.conversations.shapes.consent import (
    AnswersChange,
    Change,
    ConsentShown,
    Grant,
    GrantChange,
    GrantsQuery,
    PeerAnswer,
    PeerQuery,
    PresetChange,
)
from homeserver.services.conversations.shapes.pages import Page
from homeserver.services.conversations.shapes.people import ListQuery
from homeserver.services.conversations.shapes.times import parse_time

api = Api("Consent", "What one allows others.")


@api.get("/consent", scope="consent")
async def get_consent(call: Call) -> ConsentShown:
    """Show what the caller answers to people to whom they have said nothing themselves.

    By matter (`message`: who may start a conversation; `group`: who may add them; `media`: whose
    files they see; `call`; `presence`, `typing`, `receipts`: who sees theirs), and by who asks.
    """
    return await call.app[keys.CONSENTS].shown(call.user_id)


@api.put("/consent", scope="consent")
async def set_consent_preset(call: Call[PresetChange]) -> ConsentShown:
    """Choose a preset for messages, groups, media and calls in one step."""
    return await call.app[keys.CONSENTS].set_preset(call.user_id, call.body.preset)


@api.put("/consent/scopes/{scope}", scope="consent")
async def set_consent_answers(call: Call[AnswersChange]) -> ConsentShown:
    """Set the answers in one matter: a preset, or an answer for some kinds of people."""
    scope = parse_scope(call.path("scope"), TIERED)
    return await call.app[keys.CONSENTS].set_answers(call.user_id, scope, call.body)


@api.get("/consent/grants", scope="consent")
async def list_grants(call: Call[None, GrantsQuery]) -> Page[Grant]:
    """List what the caller said to single people, to instances, and to all (`*`)."""
    query = call.query
    return await call.app[keys.CONSENTS].grants(
        call.user_id,
        scope=query.scope,
        peer=parse_peer(query.peer) if query.peer is not None else None,
        cursor=query.cursor,
        limit=query.limit,
    )


@api.put("/consent/grants/{scope}/{peer}", scope="consent")
async def set_grant(call: Call[GrantChange]) -> Grant:
    """Grant or deny something to a person (an address), an instance (its name), or all (`*`).

    `revoked` ends what was granted: the peer is refused from then on. In the matter `federation`
    a peer is an instance or `*`: whether anything of the caller's may go there.
    """
    change = call.body
    expires_at = parse_time(change.expires_at, "expires_at") if change.expires_at else None
    return await call.app[keys.CONSENTS].grant(
        call.user_id,
        parse_scope(call.path("scope")),
        parse_peer(call.path("peer")),
        change.state,
        expires_at,
    )


@api.delete("/consent/grants/{scope}/{peer}", scope="consent")
async def delete_grant(call: Call) -> None:
    """Forget what was said to a peer: what the caller answers to people like them counts again."""
    await call.app[keys.CONSENTS].take_back(
        call.user_id, parse_scope(call.path("scope")), parse_peer(call.path("peer"))
    )


@api.get("/consent/history", scope="consent")
async def list_consent_history(call: Call[None, ListQuery]) -> Page[Change]:
    """List every change there ever was, the newest first: who made it, when, and how."""
    return await call.app[keys.CONSENTS].history(
        call.user_id, cursor=call.query.cursor, limit=call.query.limit
    )


@api.get("/people/{person}/consent", scope="consent")
async def get_consent_of_person(call: Call[None, PeerQuery]) -> PeerAnswer:
    """Tell whether somebody lets the caller write to them, as far as their instance says.

    Who would be asked, who has blocked the caller, and who does not exist all look alike.
    """
    call.app[RATE_LIMITS].check("profile", call.user_id)
    return await call.app[keys.CONSENTS].of_peer(call.user_id, call.person(), call.query.scope)
