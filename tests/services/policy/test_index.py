"""The index leaves out no rule that matches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.services.policy import index
from homeserver.services.policy.conditions import ALL_ASPECTS, Truth
from homeserver.services.policy.index import RuleSet
from homeserver.services.policy.rules import Rule, compile_rules
from homeserver.services.policy.subject import Subject
from tests.services.policy.samples import SampleRoom, message, picture

WORDS = ("casino", "free", "money", "c++", "naïve", "free money", "hello", "$$$")
DOMAINS = ("spam.example", "one.test", "example")
SENDERS = ("@alice:one.test", "@bob:two.test", "@eve:three.example")
TYPES = ("m.room.message", "m.room.encrypted", "m.room.member", "m.room.topic")
COUNTS = st.integers(0, 3)
BOUNDS = st.one_of(
    COUNTS.map(lambda n: {"min": n}),
    COUNTS.map(lambda n: {"max": n}),
    st.tuples(COUNTS, COUNTS).map(lambda p: {"min": min(p), "max": max(p)}),
)

KEYS: dict[str, st.SearchStrategy[Any]] = {
    "direction": st.sampled_from(("in", "out", "local")),
    "server": st.sampled_from(("one.test", "*.test", "three.*")),
    "sender": st.sampled_from((*SENDERS, "@*:two.test", "@e*")),
    "event_type": st.sampled_from((*TYPES, "m.room.*", "*.message")),
    "msgtype": st.sampled_from(("m.text", "m.*", "m.image")),
    "room": st.sampled_from(("!room:*", "!other:*", "!room:one.test")),
    "room_type": st.just("m.space"),
    "room_kind": st.sampled_from(("direct", "group")),
    "room_members": BOUNDS,
    "encrypted": st.booleans(),
    "size_bytes": st.sampled_from(({"min": 60}, {"max": 60}, {"min": 40, "max": 200}, {"min": 0})),
    "min_size_bytes": st.sampled_from((1, 50, 5_000)),
    "links": BOUNDS,
    "mentions": BOUNDS,
    "invites": BOUNDS,
    "link_domains": st.lists(st.sampled_from(("spam.example", "one.test")), min_size=1, max_size=2),
    "keywords": st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
    "regex": st.sampled_from(
        (r"(?i)fre+\s", "mon[a-z]y", "^$", "[[:^ascii:]]", r"(?i)\bFree\s+\bmoney\b", r"\bone\b")
    ),
    "mime_type": st.sampled_from(("image/*", "video/*")),
    "standing": st.sampled_from(("known", "stranger")),
    "account_younger_than": st.sampled_from(("1m", "1d")),
}
ONE_KEY = st.sampled_from(sorted(KEYS)).flatmap(
    lambda key: KEYS[key].map(lambda value: {key: value})
)
PLAIN = st.lists(ONE_KEY, min_size=1, max_size=3).map(
    lambda parts: {key: value for part in parts for key, value in part.items()}
)
MATCHES: st.SearchStrategy[Any] = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        inner.map(lambda match: {"not": match}),
        st.lists(inner, min_size=1, max_size=3).map(lambda branches: {"any": branches}),
        st.tuples(st.lists(inner, min_size=1, max_size=3), PLAIN).map(
            lambda pair: {"all": pair[0], **pair[1]}
        ),
    ),
    max_leaves=5,
)
TEXTS = st.lists(
    st.sampled_from(
        (
            *WORDS,
            *("Casino!", "ＦＲＥＥ", "free\nmoney", "https://www.spam.example/x", "one.test"),
            *("@bob:two.test", "na\u00efve", "nai\u0308ve", "ca\u200bsino", "see.", ""),
        )
    ),
    max_size=6,
).map(" ".join)


@st.composite
def subjects(draw: st.DrawFn) -> Subject:
    sender = draw(st.sampled_from(SENDERS))
    kind = draw(st.sampled_from(TYPES))
    inviting = kind == "m.room.member" and draw(st.booleans())
    content: dict[str, Any] = {"msgtype": draw(st.sampled_from(("m.text", "m.image", 7)))}
    if draw(st.booleans()):
        content["formatted_body"] = draw(TEXTS).replace(" ", "<b> </b>")
    if draw(st.booleans()):
        content["m.mentions"] = {"user_ids": draw(st.lists(st.sampled_from(SENDERS)))}
    if inviting:
        content["membership"] = "invite"
    files = draw(st.booleans())
    if files:
        content["url"] = "mxc://one.test/file"
    return message(
        draw(TEXTS),
        content=content,
        sender=sender,
        origin=sender.partition(":")[2],
        type=kind,
        direction=draw(st.sampled_from(("in", "out", "local"))),
        state_key="" if kind != "m.room.message" else None,
        room_id=draw(st.sampled_from(("!room:one.test", "!other:two.test"))),
        room=SampleRoom(
            draw(COUNTS), draw(COUNTS), draw(st.sampled_from(({}, {"type": "m.space"})))
        ),
        invites=draw(st.integers(1, 4)) if inviting else 0,
        media=(picture(),) if files and draw(st.booleans()) else (),
        is_known=draw(st.sampled_from((None, True, False))),
        account_created_at=draw(st.sampled_from((None, 0, 86_399_000))),
        at_ms=86_400_000,
    )


@given(
    matches=st.lists(MATCHES, min_size=1, max_size=12),
    events=st.lists(subjects(), min_size=1, max_size=6),
)
@settings(max_examples=400, deadline=None)
def test_the_index_agrees_with_asking_every_rule(matches: list[Any], events: list[Subject]) -> None:
    rules = compile_rules(
        [
            {"name": str(number), "action": "flag", "match": match}
            for number, match in enumerate(matches)
        ],
        Path(),
    )
    indexed = RuleSet(rules)

    for event in events:
        found = [
            rule.name
            for rule in indexed.candidates(event)
            if rule.condition.truth(event, ALL_ASPECTS)
        ]
        assert found == [r.name for r in rules if r.condition.truth(event, ALL_ASPECTS)]


def _rate(per: str, count: int) -> dict[str, Any]:
    return {"rate": {"per": per, "count": count, "seconds": 60}}


def settled(rule: Rule, event: Subject, truth: Truth) -> Truth:
    """As the engine does it: all is asked where something was not known."""
    return rule.condition.truth(event, ALL_ASPECTS) if truth is None else truth


COUNTING = st.builds(
    lambda match, rate: {**match, **rate},
    st.one_of(st.just({}), PLAIN),
    st.builds(_rate, st.sampled_from(("sender", "room", "server")), st.integers(1, 3)),
)


@given(
    matches=st.lists(st.one_of(MATCHES, COUNTING), min_size=1, max_size=12),
    events=st.lists(subjects(), min_size=1, max_size=12),
)
@settings(max_examples=300, deadline=None)
def test_what_is_left_to_ask_decides_and_counts_as_the_whole_rule_would(
    matches: list[Any], events: list[Subject]
) -> None:
    documents = [
        {"name": str(number), "action": "flag", "match": match}
        for number, match in enumerate(matches)
    ]
    indexed, plain = RuleSet(compile_rules(documents, Path())), compile_rules(documents, Path())

    for event in events:
        asked = [
            rule.name for rule, ask in indexed.to_ask(event) if settled(rule, event, ask(event))
        ]

        assert asked == [
            rule.name
            for rule in plain
            if settled(rule, event, rule.condition.truth(event, event.known))
        ]


def test_an_event_looks_at_few_of_many_rules() -> None:
    documents: list[dict[str, Any]] = [
        {"name": f"{kind}{number}", "action": "flag", "match": match}
        for number in range(50)
        for kind, match in (
            ("word", {"keywords": [f"word{number}", f"two words{number}"]}),
            ("pattern", {"regex": f"pattern{number}+"}),
            ("sender", {"sender": f"@spam{number}*:*"}),
            ("link", {"link_domains": [f"bad{number}.example"], "direction": "in"}),
            ("type", {"event_type": f"x.{number}"}),
            ("file", {"mime_type": "image/*", "image_width": {"min": number}}),
        )
    ]
    rules = RuleSet(compile_rules(documents, Path()))

    assert list(rules.candidates(message("hello, how are you?"))) == []
    assert [r.name for r in rules.candidates(message("word7"))] == ["word7"]
    assert [r.name for r in rules.candidates(message("pattern31"))] == ["pattern3", "pattern31"]
    assert [r.name for r in rules.candidates(message(sender="@spam40x:y"))] == [
        "sender4",
        "sender40",
    ]


def test_patterns_that_are_too_large_together_are_asked_one_by_one() -> None:
    documents = [
        {"name": str(number), "action": "flag", "match": {"regex": rf"a{number}x[\pL\pN]{{20}}y"}}
        for number in range(600)
    ]
    rules = RuleSet(compile_rules(documents, Path()))

    found = [
        rule.name
        for rule in rules.candidates(message("a17x" + "z" * 20 + "y"))
        if rule.condition.truth(message("a17x" + "z" * 20 + "y"), ALL_ASPECTS)
    ]

    assert found == ["17"]


def test_what_senders_may_choose_is_not_remembered_without_end() -> None:
    rules = RuleSet(
        compile_rules([{"name": "r", "action": "flag", "match": {"msgtype": "m.*"}}], Path())
    )

    for number in range(22_000):
        msgtype = f"m.{number}" if number % 2 else "m." + "x" * 1_000 + str(number)
        assert len(list(rules.candidates(message(content={"msgtype": msgtype})))) == 1

    assert len(rules._places) <= index.REMEMBERED_PLACES
    assert len(rules._by_shape._masks) <= 5_000
    assert all(len(key[1] or "") <= 255 for key in rules._by_shape._masks)
