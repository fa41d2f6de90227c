"""The keys of a rule's ``match``, each made into a test.  ``docs/policy.md`` is their reference."""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import re2
from msgspec import Struct, field

from homeserver.protocol.globs import glob_to_regex, is_glob
from homeserver.services.policy import text as reading
from homeserver.services.policy import values
from homeserver.services.policy.conditions import Aspect, Condition, Leaf, any_of
from homeserver.services.policy.rates import Rates
from homeserver.services.policy.subject import RoomView, Subject
from homeserver.services.policy.values import BadValue, bounds

MAX_PATTERN_LENGTH = 1_000
MAX_PATTERN_BYTES = 1 << 20  # of memory, compiled
MAX_DIRECT_MEMBERS = 2
MAX_RATE_COUNT = 1_000_000
MAX_RATE_SECONDS = 30 * 86400


class Place(Struct):
    """Where in the rules something stands, and what its compilation may use."""

    rule: str
    base: Path  # the configuration's directory
    rates: Rates
    rate_names: set[str]
    files: list[Path] = field(default_factory=list)  # that the rule names
    tests: int = 0

    def listed(self, key: str, value: Any, parse: Callable[[str, str], str]) -> list[str]:
        """A list, or the lines of a file (see :func:`values.listed`)."""
        if isinstance(value, dict):
            self.file(key, value)
        return values.listed(key, value, self.base, parse)

    def file(self, key: str, value: Any) -> Path:
        """The path in ``{file: path}``."""
        path = values.file_path(key, value, self.base)
        self.files.append(path)
        return path


Builder = Callable[[str, Any, Place], Condition]


# ---------------------------------------------------------------- texts


def globs(key: str, value: Any) -> Callable[[str], bool]:
    """Whether a text matches one of some globs."""
    given = values.texts(key, value)
    exact = frozenset(glob for glob in given if not is_glob(glob))
    patterns: list[re.Pattern[str]] = [glob_to_regex(glob) for glob in given if is_glob(glob)]
    if not patterns:
        return exact.__contains__
    return lambda text: text in exact or any(pattern.match(text) for pattern in patterns)


def _glob_test(aspect: int, get: Callable[[Subject], str | None]) -> Builder:
    def build(key: str, value: Any, place: Place) -> Condition:
        matches = globs(key, value)

        def test(subject: Subject) -> bool:
            text = get(subject)
            return text is not None and matches(text)

        return Leaf(key, aspect, test)

    return build


def _room_type(subject: Subject) -> str | None:
    room_type = _create_content(subject.room).get("type") if subject.room is not None else None
    return room_type if isinstance(room_type, str) else None


def _create_content(room: RoomView) -> Any:
    return room.content(("m.room.create", ""))


def _direction(key: str, value: Any, place: Place) -> Condition:
    wanted = values.choices(key, value, ("in", "out", "local"))
    return Leaf(key, Aspect.DIRECTION, lambda subject: subject.direction in wanted)


def _encrypted(key: str, value: Any, place: Place) -> Condition:
    wanted = values.switch(key, value)
    return Leaf(key, Aspect.SHAPE, lambda subject: subject.encrypted is wanted)


# ---------------------------------------------------------------- numbers


def _bounds_test(aspect: int, get: Callable[[Subject], int | None]) -> Builder:
    def build(key: str, value: Any, place: Place) -> Condition:
        wanted = bounds(key, value)

        def test(subject: Subject) -> bool:
            number = get(subject)
            return number is not None and number in wanted

        within = (wanted.least, wanted.most)
        return Leaf(key, aspect, test, when_absent=0 in wanted, within=within)

    return build


def _min_size_bytes(key: str, value: Any, place: Place) -> Condition:
    least = values.whole_number(key, value, 1, values.NO_END)
    within = (least, values.NO_END)
    return Leaf(key, Aspect.SIZE, lambda subject: subject.size_bytes() >= least, within=within)


def _invites(key: str, value: Any, place: Place) -> Condition:
    wanted = bounds(key, value)
    return Leaf(
        key, Aspect.INVITES, lambda subject: subject.invites > 0 and subject.invites in wanted
    )


def _members(subject: Subject) -> int | None:
    return subject.room.joined_count if subject.room is not None else None


def _room_kind(key: str, value: Any, place: Place) -> Condition:
    wanted = values.choices(key, value, ("direct", "group"))
    return Leaf(key, Aspect.OTHER, lambda subject: room_kind(subject) in wanted)


def room_kind(subject: Subject) -> str | None:
    """``direct`` for two people, or where an invite says so; None where nothing is known."""
    if subject.is_invite and subject.content.get("is_direct") is True:
        return "direct"
    room = subject.room
    if room is None:
        return None
    people = room.joined_count + room.invited_count + subject.is_invite
    return "direct" if people <= MAX_DIRECT_MEMBERS else "group"


# ---------------------------------------------------------------- what a person would read


def _keywords(key: str, value: Any, place: Place) -> Condition:
    """Whole words in any case; a keyword may be several words, or have other characters in it."""
    given = place.listed(key, value, _keyword)
    plain = frozenset(keyword for keyword in given if reading.words_of(keyword) == {keyword})
    phrases: dict[str, list[str]] = {}
    for keyword in given:
        if keyword not in plain:
            head = min(reading.words_of(keyword), key=lambda w: (-len(w), w), default="")
            phrases.setdefault(head, []).append(keyword)
    heads = plain | phrases.keys()

    def test(subject: Subject) -> bool:
        folded = subject.folded()
        found = heads & subject.words()
        if not found and "" not in phrases:
            return False
        # Beyond ASCII, accents of their own may follow what looks like the end of a word.
        if any(w in plain and (folded.isascii() or reading.has_phrase(folded, w)) for w in found):
            return True
        spaced = reading.one_spaced(folded)
        return any(
            reading.has_phrase(spaced, phrase)
            for head in (*found, "")
            for phrase in phrases.get(head, ())
        )

    indexed = frozenset() if "" in phrases else frozenset(heads)
    return Leaf(key, Aspect.WORDS, test, words=indexed)


def _keyword(key: str, keyword: str) -> str:
    folded = reading.one_spaced(reading.fold(keyword))
    if not folded:
        raise values.bad(key, keyword, "a word")
    return folded


def regex_options() -> Any:
    """How RE2 is set: small, silent, and without groups."""
    options = re2.Options()
    options.max_mem = MAX_PATTERN_BYTES
    options.log_errors = False
    options.never_capture = True
    return options


def _regex(key: str, value: Any, place: Place) -> Condition:
    return any_of([_one_regex(key, pattern) for pattern in values.texts(key, value)])


def _one_regex(key: str, pattern: str) -> Leaf:
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise BadValue(
            key, f"the pattern has {len(pattern)} characters; allowed: {MAX_PATTERN_LENGTH}"
        )
    try:
        compiled = re2.compile(pattern, regex_options())
    except (re2.error, UnicodeError) as error:
        reason = error.args[0] if error.args else "it is not valid"
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise BadValue(key, f"RE2 does not take the pattern {pattern!r}: {reason}") from error
    return Leaf(
        key,
        Aspect.WORDS,
        lambda subject: compiled.search(subject.text_bytes()) is not None,
        pattern=pattern,
    )


def _link_domains(key: str, value: Any, place: Place) -> Condition:
    domains = frozenset(place.listed(key, value, _domain))
    return Leaf(
        key,
        Aspect.DOMAINS,
        lambda subject: not domains.isdisjoint(subject.domains()),
        words=domains,
    )


def _domain(key: str, name: str) -> str:
    host = reading.normal_host(name.removeprefix("*."))
    if "." not in host or not re.fullmatch(r"[\w-]+(?:\.[\w-]+)+", host):
        raise values.bad(key, name, "a domain such as example.com, its subdomains included")
    return host


# ---------------------------------------------------------------- who


def _account_younger_than(key: str, value: Any, place: Place) -> Condition:
    least_ms = values.duration(key, value) * 1000

    def test(subject: Subject) -> bool:
        created_at = subject.account_created_at
        return created_at is not None and subject.at_ms - created_at < least_ms

    return Leaf(key, Aspect.ACCOUNT, test)


def _standing(key: str, value: Any, place: Place) -> Condition:
    wanted = frozenset(
        word == "known" for word in values.choices(key, value, ("stranger", "known"))
    )
    return Leaf(key, Aspect.STANDING, lambda subject: subject.is_known in wanted)


def _rate(key: str, value: Any, place: Place) -> Condition:
    given = values.mapping(key, value, ("per", "count", "seconds"))
    for name in ("per", "count", "seconds"):
        if name not in given:
            raise BadValue(f"{key}.{name}", "missing; it must be set")
    per = values.choice(f"{key}.per", given["per"], ("sender", "server", "room"))
    count = values.whole_number(f"{key}.count", given["count"], 1, MAX_RATE_COUNT)
    seconds = values.whole_number(f"{key}.seconds", given["seconds"], 1, MAX_RATE_SECONDS)
    name = f"{place.rule}: {key}"
    place.rate_names.add(name)
    take = place.rates.get(name, count, seconds).take
    counted_by = attrgetter({"sender": "sender", "server": "origin", "room": "room_id"}[per])

    def test(subject: Subject) -> bool:
        wait = take(counted_by(subject), subject.tick)
        if not wait:
            return False
        subject.retry_after_seconds = max(subject.retry_after_seconds, wait)
        return True

    return Leaf(key, Aspect.RATE, test)


BUILDERS: dict[str, Builder] = {
    "direction": _direction,
    "server": _glob_test(Aspect.SERVER, lambda subject: subject.origin),
    "sender": _glob_test(Aspect.SENDER, lambda subject: subject.sender),
    "account_younger_than": _account_younger_than,
    "standing": _standing,
    "room": _glob_test(Aspect.ROOM, lambda subject: subject.room_id),
    "room_type": _glob_test(Aspect.OTHER, _room_type),
    "room_kind": _room_kind,
    "room_members": _bounds_test(Aspect.OTHER, _members),
    "event_type": _glob_test(Aspect.SHAPE, lambda subject: subject.type),
    "msgtype": _glob_test(Aspect.SHAPE, lambda subject: subject.msgtype),
    "encrypted": _encrypted,
    "size_bytes": _bounds_test(Aspect.SIZE, lambda subject: subject.size_bytes()),
    "min_size_bytes": _min_size_bytes,
    "links": _bounds_test(Aspect.LINKS, lambda subject: len(subject.links())),
    "mentions": _bounds_test(Aspect.MENTIONS, lambda subject: len(subject.mentions())),
    "invites": _invites,
    "link_domains": _link_domains,
    "keywords": _keywords,
    "regex": _regex,
    "rate": _rate,
}
