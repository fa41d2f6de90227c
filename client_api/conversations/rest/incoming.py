"""Incoming webhooks: addresses to which messages are posted."""

from __future__ import annotations

from typing import Any

from client_api.conversations.answers import json_answer
from client_api.conversations.api import PREFIX, Api, Call
from client_api.conversations.idempotency import REPLAYED
from client_api.conversations.keys import INCOMING_WEBHOOKS, SENDING
from homeserver.app_keys import CONFIG
from homeserver.callers import caller_key
from homeserver.services.conversations.scopes import WEBHOOKS as SCOPE
from homeserver.services.conversations.shapes.incoming import (
    IncomingInfo,
    MadeIncoming,
    NewIncoming,
    incoming_info,
)
from homeserver.services.conversations.shapes.messages import NewMessage, Sent
from homeserver.services.conversations.shapes.pages import Page

api = Api("Incoming webhooks", "Addresses to which a program posts messages.")

OF_CONVERSATION = "/conversations/{conversation_id}/incoming-webhooks"


@api.post(OF_CONVERSATION, scope=SCOPE, status=201, idempotent=False)
async def create_incoming_webhook(call: Call[NewIncoming]) -> MadeIncoming:
    """Make an address at which a program posts messages to the conversation, as you.

    Whoever knows the address may write: keep it secret. It is shown this once. Its messages bear
    the label. An application's are posted as its bot, or as the user for whom it acts.
    """
    secret, incoming = await call.app[INCOMING_WEBHOOKS].create(
        call.requester,
        call.path("conversation_id"),
        call.body.label,
        application_id=call.caller.application_id,
    )
    url = f"{call.app[CONFIG].public_base_url}{PREFIX}/hooks/{secret}"
    return MadeIncoming(url=url, info=incoming_info(incoming))


@api.get(OF_CONVERSATION, scope=SCOPE)
async def list_incoming_webhooks(call: Call) -> Page[IncomingInfo]:
    """List the conversation's incoming webhooks: your own, or all if you administer it."""
    found = await call.app[INCOMING_WEBHOOKS].list_of(call.user_id, call.path("conversation_id"))
    return Page(items=[incoming_info(incoming) for incoming in found])


@api.delete(OF_CONVERSATION + "/{incoming_id}", scope=SCOPE)
async def revoke_incoming_webhook(call: Call) -> None:
    """Revoke an incoming webhook, at once: your own, or any if you administer the conversation."""
    await call.app[INCOMING_WEBHOOKS].revoke(
        call.user_id, call.path("conversation_id"), call.path("incoming_id")
    )


@api.post("/hooks/{secret}", scope=None, status=201, idempotent=False)
async def post_to_incoming_webhook(call: Call[NewMessage]) -> Sent:
    """Post a message, at an address that somebody made for that: no token is needed.

    `{"text": "hello"}` is enough; everything that a message may have is accepted, but where it
    goes is settled. The same `Idempotency-Key` again posts nothing.
    """
    posted = await call.app[INCOMING_WEBHOOKS].post(
        call.path("secret"), call.body, call.idempotency_key, caller=caller_key(call.request)
    )
    answer: Any = await call.app[SENDING].answer(posted.requester, posted.message)
    if posted.message.repeated:
        answer = json_answer(answer, status=201)
        answer.headers[REPLAYED] = "true"
    return answer  # type: ignore[no-any-return]
