"""People who wait for the caller's answer."""

from __future__ import annotations

from client_api.conversations import people_keys as keys
from client_api.conversations.api import Api, Call
from homeserver.services.conversations.shapes.consent import (
    Acceptance,
    Answered,
    Refusal,
    Request,
    RequestAnswer,
    RequestsQuery,
)
from homeserver.services.conversations.shapes.pages import Page, parse_cursor
from homeserver.services.conversations.shapes.people import parse_person

api = Api("Requests", "Strangers who wait for an answer.")


@api.get("/requests", scope="consent")
async def list_requests(call: Call[None, RequestsQuery]) -> Page[Request]:
    """List who asked to be let in, in one state: those who wait, if none is named."""
    query = call.query
    offset = parse_cursor(query.cursor, int)[0] if query.cursor is not None else 0
    return await call.app[keys.REQUESTS].in_state(
        call.user_id, query.state, offset=max(0, offset), limit=query.limit
    )


@api.get("/requests/{person}", scope="consent")
async def get_request(call: Call) -> Request:
    """Show what somebody asked for."""
    return await call.app[keys.REQUESTS].get(call.user_id, call.person())


@api.post("/requests/{person}/accept", scope="consent")
async def accept_request(call: Call[Acceptance]) -> Request:
    """Let somebody in: they become a contact, and the caller joins the conversation."""
    return await call.app[keys.REQUESTS].answer_one(
        call.user_id, call.person(), "accept", join=call.body.join
    )


@api.post("/requests/{person}/decline", scope="consent")
async def decline_request(call: Call[Refusal]) -> Request:
    """Decline: they are told nothing, and may ask again only after some time."""
    return await call.app[keys.REQUESTS].answer_one(call.user_id, call.person(), "decline")


@api.post("/requests/{person}/block", scope="consent")
async def block_request(call: Call[Refusal]) -> Request:
    """Decline, and block them."""
    return await call.app[keys.REQUESTS].answer_one(call.user_id, call.person(), "block")


@api.post("/requests/{person}/report", scope="consent")
async def report_request(call: Call[Refusal]) -> Request:
    """Decline, block them, and report them to the moderators of both instances."""
    return await call.app[keys.REQUESTS].answer_one(
        call.user_id, call.person(), "report", reason=call.body.reason
    )


@api.post("/requests/answer", scope="consent")
async def answer_requests(call: Call[RequestAnswer]) -> Answered:
    """Answer several at once: the people named, all of an instance, or all who wait."""
    body = call.body
    return await call.app[keys.REQUESTS].answer_many(
        call.user_id,
        body.answer,
        senders=[parse_person(text, "people") for text in body.people],
        server=body.instance,
        everybody=body.all,
        join=body.join,
        reason=body.reason,
    )
