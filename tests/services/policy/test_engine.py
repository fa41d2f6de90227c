"""Judging: what each action makes of an event of another instance, and what is asked when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from homeserver.errors import Forbidden
from homeserver.protocol.events import Event
from homeserver.protocol.media_uris import MediaUri
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.services.judgement import Action, Judgement
from homeserver.services.live_room import LiveRoom
from homeserver.services.media_facts import MediaFacts, MediaSubject
from homeserver.services.policy import Policy, Subject
from homeserver.services.policy.index import RuleSet
from homeserver.services.policy.ports import Ports
from homeserver.services.policy.rules import Rule, compile_rules
from homeserver.services.policy.subject import UnseenRoom
from homeserver.storage import policy as storage
from homeserver.storage.database import Database
from tests.services.policy.samples import ALICE, BOB, message, picture

NOW = 10 * 86_400_000


class Others:
    """The other parts of the server, which note what they are asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.created: int | None = NOW - 60_000
        self.known = False
        self.facts: MediaFacts | None = None
        self.slowed: list[tuple[str, int]] = []
        self.blocked: list[dict[str, Any]] = []

    async def is_known(self, subject: Subject) -> bool:
        self.asked.append("standing")
        return self.known

    async def created_at(self, user_id: str) -> int | None:
        self.asked.append("age")
        return self.created

    async def facts_of(self, uris: Sequence[MediaUri]) -> Sequence[MediaFacts]:
        self.asked.append("media")
        return () if self.facts is None else (self.facts,)

    def slow_down(self, server: str, seconds: int) -> None:
        self.slowed.append((server, seconds))

    async def block(
        self, server: str, *, reason: str, source: str, expires_at: int | None = None
    ) -> object:
        await asyncio.sleep(0)
        self.blocked.append(
            {"server": server, "reason": reason, "source": source, "expires_at": expires_at}
        )
        return None


@pytest.fixture
def others() -> Others:
    return Others()


Build = Callable[..., Policy]


@pytest.fixture
async def build(database: Database, others: Others) -> AsyncIterator[Build]:
    """Makes a policy of rules given as keyword arguments of one rule, or as documents."""
    made: list[Policy] = []

    def policy(*documents: dict[str, Any], **one: Any) -> Policy:
        policy = Policy(
            server_name="one.test",
            database=database,
            rules=rules(*(documents or (one,))),
            clock_ms=lambda: NOW,
            clock=lambda: 0.0,
            ports=Ports(others, others, others, others, others),
        )
        made.append(policy)
        return policy

    yield policy
    for policy in made:
        await policy.close()


def rules(*documents: dict[str, Any]) -> list[Rule]:
    return compile_rules(
        [{"name": f"r{n}", "message": "No.", **d} for n, d in enumerate(documents)], Path()
    )


def event(text: str = "casino", sender: str = BOB, **fields: Any) -> Event:
    pdu = {
        "type": "m.room.message",
        "sender": sender,
        "room_id": "!room:one.test",
        "content": {"msgtype": "m.text", "body": text},
        "depth": 1,
        "origin_server_ts": NOW,
        "prev_events": [],
        "auth_events": [],
        **fields,
    }
    return Event(pdu, "$event", ROOM_VERSIONS["11"])


def room() -> LiveRoom:
    live = LiveRoom("!room:one.test", ROOM_VERSIONS["11"], "one.test")
    live.set_membership(ALICE, "join")
    live.set_membership(BOB, "join")
    return live


async def trail(policy: Policy, database: Database) -> list[tuple[str, str, str]]:
    await policy.trail.flush()
    rows = reversed(await storage.get_verdicts(database))
    return [(row.rule, row.action, row.mode) for row in rows]


CASINO = {"match": {"keywords": ["casino"]}}


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("allow", Judgement(Action.ACCEPT)),
        ("flag", Judgement(Action.ACCEPT, flags=("r0",))),
        ("hold", Judgement(Action.HOLD, "policy:r0", "No.")),
        ("strip", Judgement(Action.ACCEPT, "policy:r0", "No.", strip_media=True)),
        ("soft_fail", Judgement(Action.SOFT_FAIL, "policy:r0", "No.")),
        ("reject", Judgement(Action.SOFT_FAIL, "policy:r0", "No.")),
        ("throttle", Judgement(Action.SOFT_FAIL, "policy:r0", "No.")),
        ("block_server", Judgement(Action.SOFT_FAIL, "policy:r0", "No.")),
    ],
)
async def test_what_becomes_of_an_arrival(build: Build, action: str, expected: Judgement) -> None:
    policy = build(**CASINO, action=action)

    assert await policy.judge_arrival(room(), event()) == expected
    assert await policy.judge_arrival(room(), event("hello")) == Judgement(Action.ACCEPT)


@pytest.mark.parametrize("action", ["hold", "strip"])
async def test_state_is_soft_failed_where_messages_are_held_or_stripped(
    build: Build, action: str
) -> None:
    policy = build(**CASINO, action=action)
    topic = event(type="m.room.topic", state_key="", content={"topic": "casino"})

    judgement = await policy.judge_arrival(room(), topic)

    assert judgement == Judgement(Action.SOFT_FAIL, "policy:r0", "No.")


async def test_a_throttled_origin_is_asked_to_slow_down(build: Build, others: Others) -> None:
    policy = build(
        {**CASINO, "action": "throttle", "for": "5m"},
        {"match": {"keywords": ["poker"]}, "action": "throttle"},
    )

    await policy.judge_arrival(room(), event())
    await policy.judge_arrival(room(), event("poker"))

    assert others.slowed == [("two.test", 300), ("two.test", 600)]


async def test_a_blocked_origin_is_blocked_once(build: Build, others: Others) -> None:
    policy = build(**CASINO, action="block_server", **{"for": "1d"})

    for _ in range(3):
        await policy.judge_arrival(room(), event())
    await policy.close()

    assert others.blocked == [
        {
            "server": "two.test",
            "reason": "No.",
            "source": "policy:r0",
            "expires_at": NOW + 86_400_000,
        }
    ]


async def test_the_first_rule_that_decides_wins(build: Build, database: Database) -> None:
    policy = build(
        {**CASINO, "action": "flag"},
        {**CASINO, "action": "reject", "mode": "observe"},
        {"match": {"keywords": ["poker"]}, "action": "reject"},
        {**CASINO, "action": "hold"},
        {**CASINO, "action": "reject"},
    )

    judgement = await policy.judge_arrival(room(), event())

    assert judgement == Judgement(Action.HOLD, "policy:r3", "No.", flags=("r0",))
    assert await trail(policy, database) == [
        ("r0", "flag", "enforce"),
        ("r1", "reject", "observe"),
        ("r3", "hold", "enforce"),
    ]
    assert [(entry.rule.name, entry.matched) for entry in policy.rules()] == [
        ("r0", 1),
        ("r1", 1),
        ("r2", 0),
        ("r3", 1),
        ("r4", 0),
    ]


async def test_allow_ends_the_search_and_leaves_no_row(build: Build, database: Database) -> None:
    policy = build(
        {"match": {"sender": "@bob:*"}, "action": "allow"}, {**CASINO, "action": "reject"}
    )

    assert (await policy.judge_arrival(room(), event())).action is Action.ACCEPT
    eve = event(sender="@eve:two.test")
    assert (await policy.judge_arrival(room(), eve)).action is Action.SOFT_FAIL
    assert await trail(policy, database) == [("r1", "reject", "enforce")]


async def test_a_rule_on_trial_has_no_effect(
    build: Build, others: Others, database: Database
) -> None:
    policy = build(
        *(
            {**CASINO, "action": action, "mode": "observe"}
            for action in ("allow", "flag", "hold", "throttle", "block_server")
        )
    )

    judgement = await policy.judge_arrival(room(), event())

    assert judgement == Judgement(Action.ACCEPT)
    assert [row[1] for row in await trail(policy, database)] == [
        "allow",
        "flag",
        "hold",
        "throttle",
        "block_server",
    ]
    assert (others.slowed, others.blocked) == ([], [])


SLOW = {
    "keywords": ["casino"],
    "account_younger_than": "1d",
    "standing": "stranger",
    "rate": {"per": "sender", "count": 1, "seconds": 60},
}


async def test_nobody_is_asked_where_the_cheap_tests_fail(build: Build, others: Others) -> None:
    policy = build(match=SLOW, action="reject")

    await policy.judge_arrival(room(), event("hello"))

    assert others.asked == []


async def test_no_more_is_asked_than_it_takes(build: Build, others: Others) -> None:
    others.created = 0
    policy = build(match=SLOW, action="reject")

    await policy.judge_arrival(room(), event())

    assert others.asked == ["age"]


async def test_what_was_asked_for_one_rule_is_not_asked_for_the_next(
    build: Build, others: Others
) -> None:
    policy = build(*({"match": SLOW, "action": "flag"} for _ in range(3)))

    await policy.judge_arrival(room(), event())

    assert others.asked == ["age", "standing"]


async def test_a_rate_counts_only_what_the_rest_of_its_rule_matches(
    build: Build, others: Others
) -> None:
    policy = build(match=SLOW, action="reject")

    others.known = True
    for _ in range(5):
        assert (await policy.judge_arrival(room(), event())).action is Action.ACCEPT
    others.known = False
    first = await policy.judge_arrival(room(), event())
    second = await policy.judge_arrival(room(), event())

    assert (first.action, second.action) == (Action.ACCEPT, Action.SOFT_FAIL)


async def test_files_are_looked_up_for_events_that_have_some(build: Build, others: Others) -> None:
    policy = build(match={"mime_type": "image/*"}, action="hold")
    content = {"msgtype": "m.image", "url": "mxc://two.test/cat", "body": "cat.png"}

    assert (await policy.judge_arrival(room(), event(content=content))).action is Action.ACCEPT
    others.facts = picture()
    assert (await policy.judge_arrival(room(), event(content=content))).action is Action.HOLD
    await policy.judge_arrival(room(), event())

    assert others.asked == ["media", "media"]


async def test_invites_are_counted_whatever_rule_asks(build: Build) -> None:
    policy = build(match={"invites": {"min": 3}}, action="reject")
    invite = event(type="m.room.member", state_key=ALICE, content={"membership": "invite"})

    found = [(await policy.judge_arrival(room(), invite)).action for _ in range(3)]

    assert found == [Action.ACCEPT, Action.ACCEPT, Action.SOFT_FAIL]


async def test_an_invite_from_a_room_that_we_are_not_in_is_refused(build: Build) -> None:
    policy = build(match={"room_type": "m.space", "invites": {"min": 1}}, action="hold")
    invite = event(type="m.room.member", state_key=ALICE, content={"membership": "invite"})

    await policy.judge_invite(invite, UnseenRoom())
    with pytest.raises(Forbidden, match=r"No\."):
        await policy.judge_invite(invite, UnseenRoom("m.space"))


async def test_our_own_users_were_judged_when_they_sent(build: Build) -> None:
    policy = build(**CASINO, action="reject")

    judgement = await policy.judge_arrival(room(), event(sender=ALICE))

    assert judgement.action is Action.ACCEPT


async def test_new_rules_count_from_the_next_event_on(build: Build) -> None:
    policy = build(**CASINO, action="reject")
    await policy.judge_arrival(room(), event())

    policy.replace_rules(RuleSet(rules({**CASINO, "action": "hold"}, {**CASINO, "action": "flag"})))

    assert (await policy.judge_arrival(room(), event())).action is Action.HOLD
    assert [entry.matched for entry in policy.rules()] == [2, 0]


async def test_the_trail_never_has_what_was_written(build: Build, database: Database) -> None:
    policy = build(**CASINO, action="flag")

    await policy.judge_arrival(room(), event("a secret casino"))

    await policy.trail.flush()
    rows = await database.fetch("SELECT * FROM policy_verdicts")
    assert len(rows) == 1
    assert "secret" not in str(dict(rows[0]))


# ---------------------------------------------------------------- files by themselves


def uploaded(**changes: Any) -> MediaSubject:
    values = {
        "direction": "local",
        "origin": "one.test",
        "media_id": "cat",
        "uploader": ALICE,
        "facts": picture(),
        **changes,
    }
    return MediaSubject(**values)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"mime_type": "image/*"}, True),
        ({"mime_type": "image/*", "sender": "@alice:*"}, True),
        ({"mime_type": "image/*", "account_younger_than": "1d"}, True),
        ({"mime_type": "image/*", "sender": "@bob:*"}, False),
        ({"mime_type": "video/*"}, False),
        # what an event says is not known yet, so these wait for the event
        ({"mime_type": "image/*", "msgtype": "m.image"}, False),
        ({"mime_type": "image/*", "not": {"room": "!art:*"}}, False),
        ({"mime_type": "image/*", "direction": "local"}, False),
        ({"mime_type": "image/*", "standing": "stranger"}, False),
        # counted with the event
        ({"mime_type": "image/*", "rate": {"per": "sender", "count": 1, "seconds": 9}}, False),
        # about events alone
        ({"sender": "*"}, False),
    ],
)
async def test_a_file_is_judged_by_what_is_certain(
    build: Build, match: dict[str, Any], expected: bool
) -> None:
    policy = build(match=match, action="reject")

    for _ in range(2):
        judgement = await policy.judge_media(uploaded())
        assert (judgement == Judgement(Action.REJECT, "policy:r0", "No.")) is expected


async def test_a_file_of_another_instance_comes_in(build: Build, others: Others) -> None:
    policy = build(match={"mime_type": "image/*", "direction": "in"}, action="block_server")
    file = uploaded(direction="in", origin="two.test", uploader=None)

    assert (await policy.judge_media(file)).action is Action.REJECT
    await policy.close()

    assert [block["server"] for block in others.blocked] == ["two.test"]


async def test_the_revision_is_that_of_rules_about_files(build: Build) -> None:
    about_files = {"match": {"mime_type": "image/*"}, "action": "hold"}
    one = build(about_files, {**CASINO, "action": "hold"})
    same = build(about_files, {**CASINO, "action": "reject"})
    other = build({**about_files, "action": "reject"})

    assert one.revision == same.revision != other.revision
    assert one.needs_media_facts
    assert not build(**CASINO, action="hold").needs_media_facts


async def test_no_rules_cost_nothing(build: Build) -> None:
    policy = build(**CASINO, action="reject")
    policy.replace_rules(RuleSet(()))

    assert await policy.judge_arrival(room(), event()) is await policy.judge_arrival(
        room(), event("hello")
    )
    assert list(RuleSet(()).candidates(message())) == []
