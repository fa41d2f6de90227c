"""Our joins to rooms with a policy server that the resident server did not ask."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from federation.joining import Joining
from homeserver.errors import MatrixError
from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.policy_servers import (
    Appointment,
    add_policy_signature,
    appointment_content,
    has_policy_signature,
    sign_as_policy_server,
)
from homeserver.protocol.room_versions import V12
from homeserver.protocol.signing import generate_signing_key

VIA = "policy.test"
KEY = generate_signing_key(bytes(range(32)), "policy_server")
APPOINTMENT = Appointment(VIA, KEY.verify_key.to_base64())


def event(kind: str, sender: str, state_key: str, content: JsonObject) -> Event:
    pdu = {
        "type": kind,
        "room_id": "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM",
        "sender": sender,
        "state_key": state_key,
        "content": content,
        "depth": 5,
        "origin_server_ts": 1,
        "prev_events": [],
        "auth_events": [],
        "hashes": {"sha256": ""},
        "signatures": {},
    }
    return Event(pdu, f"${kind}{sender}", V12)


JOIN = event("m.room.member", "@us:us.test", "@us:us.test", {"membership": "join"})
BOT = event("m.room.member", f"@bot:{VIA}", f"@bot:{VIA}", {"membership": "join"})
POLICY = event("m.room.policy", "@a:a.test", "", appointment_content(VIA, KEY.verify_key))


class Servers:
    """A stand-in for the policy servers of rooms."""

    def __init__(self, refusal: MatrixError | None = None) -> None:
        self.refusal = refusal
        self.asked = 0

    async def signed_by(self, appointment: Appointment, event: Event) -> Event:
        assert appointment == APPOINTMENT
        self.asked += 1
        if self.refusal is not None:
            raise self.refusal
        return add_policy_signature(event, appointment, sign_as_policy_server(event, KEY))


def joining(servers: Servers) -> Joining:
    unused: dict[str, Any] = dict.fromkeys(inspect.signature(Joining).parameters)
    return Joining(**{**unused, "policy_servers": servers})


async def test_a_join_is_signed_once_the_state_names_the_policy_server() -> None:
    servers = Servers()

    signed = await joining(servers)._signed_by_policy_server(JOIN, [POLICY, BOT])

    assert has_policy_signature(signed, APPOINTMENT)


async def test_a_join_that_the_resident_had_signed_is_not_shown_again() -> None:
    servers = Servers()
    signed = add_policy_signature(JOIN, APPOINTMENT, sign_as_policy_server(JOIN, KEY))

    assert await joining(servers)._signed_by_policy_server(signed, [POLICY, BOT]) is signed
    assert servers.asked == 0


@pytest.mark.parametrize("state", [[], [BOT], [POLICY]])
async def test_a_room_without_one_has_nobody_asked(state: list[Event]) -> None:
    servers = Servers()

    assert await joining(servers)._signed_by_policy_server(JOIN, state) is JOIN
    assert servers.asked == 0


async def test_a_late_refusal_does_not_undo_a_join() -> None:
    servers = Servers(MatrixError("No", errcode="M_FORBIDDEN"))

    assert await joining(servers)._signed_by_policy_server(JOIN, [POLICY, BOT]) is JOIN
    assert servers.asked == 1
