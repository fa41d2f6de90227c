"""Each key of a rule's match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homeserver.services.policy.conditions import ALL_ASPECTS
from homeserver.services.policy.rules import compile_rules
from homeserver.services.policy.subject import Subject
from tests.services.policy.samples import SampleRoom, invite, matches, message, picture

DAY = 86_400_000

SPAM_LINK = "see https://shop.spam.example/deal now"


@pytest.mark.parametrize(
    ("match", "subject", "expected"),
    [
        ({"direction": "in"}, message(), True),
        ({"direction": ["out", "local"]}, message(), False),
        ({"server": "two.test"}, message(), True),
        ({"server": ["*.test"]}, message(), True),
        ({"server": "*.two.test"}, message(), False),
        ({"sender": "@b*:two.test"}, message(), True),
        ({"sender": ["@a:*", "@c:*"]}, message(), False),
        ({"account_younger_than": "1d"}, message(account_created_at=DAY, at_ms=DAY + 5), True),
        ({"account_younger_than": "1d"}, message(account_created_at=DAY, at_ms=2 * DAY), False),
        ({"account_younger_than": "1d"}, message(account_created_at=None), False),
        ({"standing": "stranger"}, message(is_known=False), True),
        ({"standing": "known"}, message(is_known=False), False),
        ({"standing": ["known", "stranger"]}, message(is_known=None), False),
        ({"room": "!room:*"}, message(), True),
        ({"room": "!other:*"}, message(), False),
        ({"room_type": "m.space"}, message(room=SampleRoom(create={"type": "m.space"})), True),
        ({"room_type": "*"}, message(), False),
        ({"room_type": "*"}, message(room=None), False),
        ({"room_kind": "direct"}, message(room=SampleRoom(1, 1)), True),
        ({"room_kind": "direct"}, message(room=SampleRoom(2, 1)), False),
        ({"room_kind": "group"}, message(room=SampleRoom(2, 1)), True),
        ({"room_kind": "direct"}, invite(room=SampleRoom(1)), True),
        ({"room_kind": "group"}, invite(room=SampleRoom(2)), True),
        ({"room_kind": "direct"}, invite(room=SampleRoom(9), content={"is_direct": True}), True),
        ({"room_kind": ["direct", "group"]}, message(room=None), False),
        ({"room_members": {"min": 2}}, message(), True),
        ({"room_members": {"max": 1}}, message(), False),
        ({"room_members": {"min": 0}}, message(room=None), False),
        ({"event_type": "m.room.*"}, message(), True),
        ({"event_type": "m.reaction"}, message(), False),
        ({"msgtype": "m.t?xt"}, message(), True),
        ({"msgtype": "*"}, message(content={"msgtype": 5}), False),
        ({"encrypted": True}, message(type="m.room.encrypted"), True),
        ({"encrypted": False}, message(), True),
        ({"encrypted": True}, message(), False),
        ({"size_bytes": {"min": 10, "max": 50}}, message(), True),
        ({"size_bytes": {"max": 10}}, message(), False),
        ({"min_size_bytes": 30}, message(), True),
        ({"min_size_bytes": 3000}, message(), False),
        ({"links": {"min": 1}}, message(SPAM_LINK), True),
        ({"links": {"min": 2}}, message(SPAM_LINK), False),
        ({"links": {"max": 0}}, message(), True),
        ({"mentions": {"min": 2}}, message("@a:x.y @b:x.y"), True),
        ({"mentions": {"min": 3}}, message("@a:x.y @b:x.y"), False),
        ({"invites": {"min": 1}}, invite(), True),
        ({"invites": {"min": 3}}, invite(invites=2), False),
        ({"invites": {"min": 3}}, invite(invites=3), True),
        ({"invites": {"max": 9}}, message(), False),
        ({"link_domains": ["spam.example"]}, message(SPAM_LINK), True),
        ({"link_domains": ["am.example"]}, message(SPAM_LINK), False),
        ({"link_domains": "*.spam.example"}, message("visit SPAM.example."), True),
        ({"keywords": ["casino"]}, message("my CASINO!"), True),
        ({"keywords": ["casino"]}, message("casinos"), False),
        ({"keywords": ["free money"]}, message("FREE\n money!"), True),
        ({"keywords": ["free money"]}, message("free moneybags"), False),
        ({"keywords": ["c++", "$$$"]}, message("I write c++"), True),
        ({"keywords": ["$$$"]}, message("so much $$$ here"), True),
        ({"regex": r"(?i)free\s+coins?\b"}, message("Free  coin"), True),
        ({"regex": ["x{9}", "ll."]}, message(), True),
        ({"regex": "^$"}, message(""), True),
        ({"regex": "goodbye"}, message(), False),
        ({"mime_type": "image/*"}, message(media=(picture(),)), True),
        ({"mime_type": "IMAGE/png"}, message(media=(picture(),)), True),
        ({"mime_type": "video/*"}, message(media=(picture(),)), False),
        ({"mime_type": "*"}, message(media=()), False),
        ({"mime_type": "*"}, message(media=None), False),
        ({"file_size_bytes": {"min": 1000}}, message(media=(picture(),)), True),
        ({"image_width": {"max": 640}}, message(media=(picture(),)), True),
        ({"image_height": {"min": 481}}, message(media=(picture(),)), False),
        ({"image_width": {"min": 0}}, message(media=(picture(width=None),)), False),
        ({"known_file": {"sha256": "AB" * 32}}, message(media=(picture(),)), True),
        ({"known_file": {"sha256": "cd" * 32}}, message(media=(picture(),)), False),
        (
            {"known_file": {"perceptual": "ff00ff00ff00ff0f", "distance": 4}},
            message(media=(picture(),)),
            True,
        ),
        (
            {"known_file": {"perceptual": "ff00ff00ff00ff0f", "distance": 3}},
            message(media=(picture(),)),
            False,
        ),
        ({"known_file": {"perceptual": "00" * 8}}, message(media=(picture(),)), False),
    ],
)
def test_a_key_matches_what_it_names(match: Any, subject: Subject, expected: bool) -> None:
    assert matches(match, subject) is expected


ENCRYPTED = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "casino", "body": SPAM_LINK}


@pytest.mark.parametrize(
    "match",
    [
        {"keywords": ["casino", "see"]},
        {"regex": "."},
        {"links": {"min": 1}},
        {"link_domains": ["spam.example"]},
        {"mentions": {"min": 1}},
    ],
)
def test_what_is_encrypted_is_not_read(match: Any) -> None:
    content = {**ENCRYPTED, "m.mentions": {"user_ids": ["@alice:one.test"]}}
    subject = message(type="m.room.encrypted", content=content)

    assert not matches(match, subject)


def test_all_that_a_match_names_must_hold() -> None:
    match = {"sender": "@bob:*", "keywords": ["casino"]}

    assert matches(match, message("casino"))
    assert not matches(match, message("casino", sender="@eve:two.test"))
    assert not matches(match, message("hello"))


def test_matches_are_joined_and_negated() -> None:
    match = {
        "direction": "in",
        "any": [
            {"keywords": ["casino"]},
            {"all": [{"links": {"min": 1}}, {"not": {"link_domains": ["one.test"]}}]},
        ],
    }

    assert matches(match, message("casino"))
    assert matches(match, message("https://two.test/"))
    assert not matches(match, message("https://www.one.test/"))
    assert not matches(match, message("hello"))


def test_a_rate_matches_what_exceeds_it() -> None:
    compiled = compile_rules(
        [
            {
                "name": "r",
                "action": "throttle",
                "match": {"rate": {"per": "sender", "count": 2, "seconds": 10}},
            }
        ],
        Path(),
    )[0]

    def exceeded(sender: str, tick: float) -> bool:
        subject = message(sender=sender, tick=tick)
        return compiled.condition.truth(subject, ALL_ASPECTS) is True

    assert [exceeded("@a:x", 0.0) for _ in range(3)] == [False, False, True]
    assert not exceeded("@b:x", 0.0)
    assert not exceeded("@a:x", 5.0)
    assert exceeded("@a:x", 5.0)


@pytest.mark.parametrize(
    ("per", "other"),
    [("sender", {"sender": "@x:y"}), ("server", {"origin": "y"}), ("room", {"room_id": "!y"})],
)
def test_a_rate_counts_by_what_it_names(per: str, other: dict[str, str]) -> None:
    compiled = compile_rules(
        [
            {
                "name": "r",
                "action": "flag",
                "match": {"rate": {"per": per, "count": 1, "seconds": 9}},
            }
        ],
        Path(),
    )[0]

    truths = [
        compiled.condition.truth(subject, ALL_ASPECTS)
        for subject in (message(), message(**other), message())
    ]

    assert truths == [False, False, True]


def test_lists_may_lie_in_files(tmp_path: Path) -> None:
    (tmp_path / "domains").write_text("# known bad\n\nspam.example\nEVIL.example.\n")
    (tmp_path / "hashes").write_text("ab" * 32 + "  a picture\n")
    (tmp_path / "pictures").write_text("ff00ff00ff00ff00\n")
    (tmp_path / "words").write_text("casino\nfree money\n")
    for match, subject in (
        ({"link_domains": {"file": "domains"}}, message("www.evil.example")),
        ({"known_file": {"sha256": {"file": "hashes"}}}, message(media=(picture(),))),
        ({"known_file": {"perceptual": {"file": "pictures"}}}, message(media=(picture(),))),
        ({"keywords": {"file": str(tmp_path / "words")}}, message("Free money")),
    ):
        (compiled,) = compile_rules([{"name": "r", "action": "flag", "match": match}], tmp_path)
        assert compiled.condition.truth(subject, ALL_ASPECTS) is True
        assert compiled.condition.truth(message("hello"), ALL_ASPECTS) is False
