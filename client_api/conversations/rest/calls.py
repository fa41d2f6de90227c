"""Calls: ringing, answering, ending them; their history; relays."""

from __future__ import annotations

from typing import Annotated

import msgspec

from client_api.conversations.api import Api
from client_api.conversations.api import Call as Request
from client_api.conversations.keys import CALLS
from homeserver.app_keys import RATE_LIMITS, TURN
from homeserver.errors import InvalidParam
from homeserver.services.conversations.shapes.base import Empty, Input
from homeserver.services.conversations.shapes.calls import (
    Call,
    EndCall,
    NewCall,
    NewCallAnswer,
    NewCandidates,
    TurnServer,
    TurnServers,
)
from homeserver.services.conversations.shapes.pages import DEFAULT_LIMIT, MOST_PER_PAGE, Page
from homeserver.services.conversations.shapes.times import rfc3339

SCOPE = "calls"
CALL = "/calls/{call_id}"

api = Api("Calls", "Audio and video calls between two people.")


class WhichCalls(Input, frozen=True, kw_only=True):
    """Which calls."""

    conversation_id: (
        Annotated[str, msgspec.Meta(description="only in this conversation")] | None
    ) = None
    cursor: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_PER_PAGE)] = DEFAULT_LIMIT


@api.post("/calls", scope=SCOPE, status=201)
async def start_call(call: Request[NewCall]) -> Call:
    """Call somebody.

    `offer` is what WebRTC's `createOffer` gives. The devices of who is called are told by
    `call.ringing`; what they do comes as `call.answered` (with their session description),
    `call.declined` and `call.ended`. Unanswered after `ring_seconds`, the call is missed.
    """
    return await call.app[CALLS].start(call.requester, call.body)


@api.get("/calls", scope=SCOPE)
async def list_calls(call: Request[None, WhichCalls]) -> Page[Call]:
    """List calls, the newest first, with how long they took."""
    query = call.query
    return await call.app[CALLS].history(
        call.user_id, query.conversation_id, query.cursor, query.limit
    )


@api.get("/calls/turn", scope=SCOPE)
async def get_turn_servers(call: Request) -> TurnServers:
    """Get credentials for the servers that relay calls, where devices do not reach each other."""
    call.app[RATE_LIMITS].check("turn", call.user_id)
    found = call.app[TURN].credentials(call.user_id)
    if found is None:
        return TurnServers(items=[])
    return TurnServers(
        items=[
            TurnServer(
                urls=list(found.uris),
                username=found.username,
                credential=found.password,
                expires_at=rfc3339(found.expires_at),
            )
        ]
    )


@api.get(CALL, scope=SCOPE)
async def get_call(call: Request) -> Call:
    """Read a call; until it is over, with what both sides can do."""
    return await call.app[CALLS].get(call.user_id, call.path("call_id"))


@api.post(CALL + "/answer", scope=SCOPE)
async def answer_call(call: Request[NewCallAnswer]) -> Call:
    """Answer a call. `answer` is what WebRTC's `createAnswer` gives.

    Of several devices that answer, the first one has the call; the others get the problem
    `call_answered`.
    """
    answer = call.body.answer
    if answer.type == "offer":
        raise InvalidParam("'answer' must be a description of type answer")
    return await call.app[CALLS].answer(call.requester, call.path("call_id"), answer.sdp)


@api.post(CALL + "/decline", scope=SCOPE)
async def decline_call(call: Request) -> Call:
    """Decline a call, on all your devices."""
    return await call.app[CALLS].decline(call.requester, call.path("call_id"))


@api.post(CALL + "/end", scope=SCOPE)
async def end_call(call: Request[EndCall]) -> Call:
    """End a call that you are in, or stop ringing. Ending what is over changes nothing."""
    return await call.app[CALLS].end(call.requester, call.path("call_id"), call.body.reason)


@api.post(CALL + "/candidates", scope=SCOPE)
async def add_candidates(call: Request[NewCandidates]) -> Empty:
    """Tell the other side more ways to reach your device, as WebRTC finds them.

    Send several at once. An empty `candidate` says that there are no more.
    """
    await call.app[CALLS].add_candidates(call.requester, call.path("call_id"), call.body.candidates)
    return Empty()
