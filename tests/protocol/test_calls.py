"""What events say of calls, whatever stands in them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.calls import LONGEST_RING_MS, MAX_CANDIDATES, call_key, read_step
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import V12

ROOM = "!r:one.example"
OFFER = {"offer": {"type": "offer", "sdp": "v=0\nm=audio 9\nm=video 9"}}


def call_event(kind: str, **content: Any) -> Event:
    pdu = {
        "type": f"m.call.{kind}",
        "room_id": ROOM,
        "sender": "@a:one.example",
        "origin_server_ts": 1,
        "depth": 1,
        "auth_events": [],
        "prev_events": [],
        "content": {"call_id": "c", "party_id": "p", "version": "1", **content},
    }
    return Event(pdu, "$e", V12)


def test_an_invite_says_what_it_offers() -> None:
    step = read_step(call_event("invite", **OFFER, lifetime=60_000, invitee="@b:one.example"))

    assert step is not None
    assert (step.key, step.party_id, step.media) == (call_key(ROOM, "c"), "p", "video")
    assert (step.lifetime_ms, step.invitee, step.managed) == (60_000, "@b:one.example", False)


def test_nobody_rings_for_ever() -> None:
    step = read_step(call_event("invite", **OFFER, lifetime=2**53 - 1))

    assert step is not None
    assert step.lifetime_ms == LONGEST_RING_MS


def test_events_of_version_0_have_no_party() -> None:
    event = call_event("hangup")
    event.content.pop("party_id")

    step = read_step(event)

    assert step is not None
    assert (step.party_id, step.reason) == ("", "user_hangup")


def test_what_makes_no_sense_says_nothing() -> None:
    assert read_step(call_event("invite", lifetime=1)) is None
    assert read_step(call_event("invite", **OFFER, lifetime="1")) is None
    assert read_step(call_event("invite", **OFFER, lifetime=1, call_id="a\0b")) is None
    assert read_step(call_event("answer", answer={"sdp": 1})) is None
    assert read_step(call_event("hangup", call_id=7)) is None
    assert read_step(call_event("hangup", call_id="x" * 256)) is None


def test_of_many_candidates_the_first_count() -> None:
    step = read_step(call_event("candidates", candidates=[{}, 1, None] * 1_000))

    assert step is not None
    assert step.candidates == ({},) * 67  # the objects among the first 200
    assert MAX_CANDIDATES == 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(
    st.sampled_from(["invite", "answer", "candidates", "hangup", "reject", "select_answer"]),
    st.dictionaries(
        st.sampled_from(
            [
                "call_id",
                "party_id",
                "offer",
                "answer",
                "lifetime",
                "invitee",
                "candidates",
                "reason",
            ]
        ),
        json_values,
    ),
)
def test_any_content_can_be_read(kind: str, content: dict[str, Any]) -> None:
    read_step(call_event(kind, **content))
