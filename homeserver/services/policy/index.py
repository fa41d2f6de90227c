"""Which rules could match an event at all.

Every answer is a set of rules as the bits of a number, and leaves out only what certainly does not
match: by the event's shape, by its sender, by its room (each remembered, and all three together),
by what it lacks (text with a keyword, links, mentions, files, an invite), and by its size.  Of what
is left only the rest is asked, so that most events meet no test at all.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import re2

from homeserver.services.policy.conditions import (
    ASPECTS,
    AT_HAND,
    Aspect,
    Leaf,
    Truth,
    fold,
    leaves,
    may_count_at_once,
    rest_of,
)
from homeserver.services.policy.matchers import regex_options
from homeserver.services.policy.patterns import first_word
from homeserver.services.policy.rules import Rule
from homeserver.services.policy.subject import Subject
from homeserver.services.policy.text import MAY_MENTION, words_of

REMEMBERED = 5_000  # senders, rooms, shapes
REMEMBERED_PLACES = 10_000  # a shape, a sender and a room
REMEMBERED_ANSWERS = 1_000  # sets of rules
LONGEST_KEY = 255  # characters
SET_BYTES = 64 << 20
Key = tuple[str | None, ...]
LACKED = (
    Aspect.WORDS | Aspect.DOMAINS | Aspect.LINKS | Aspect.MENTIONS | Aspect.INVITES | Aspect.MEDIA
)

READ = Aspect.DOMAINS | Aspect.LINKS | Aspect.MENTIONS

SHAPE, SENDER, ROOM, SIZE = SETTLED = (
    Aspect.SHAPE | Aspect.DIRECTION,
    Aspect.SENDER | Aspect.SERVER,
    Aspect.ROOM,
    Aspect.SIZE,
)


class Candidate(NamedTuple):
    """A rule that could match."""

    rule: Rule
    ask: Callable[[Subject], Truth]  # the rest; rates are counted, unless it has to say None


class RuleSet:
    """Rules in their order, and the index over them.  It never changes."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.aspects = 0
        for rule in self.rules:
            self.aspects |= rule.aspects
        self._by_shape = _Remembered(self.rules, SHAPE)
        self._by_sender = _Remembered(self.rules, SENDER)
        self._by_room = _Remembered(self.rules, ROOM)
        self._by_size = _SizeIndex(self.rules)
        self._places: dict[Key, tuple[int, int]] = {}
        self._candidates = tuple(_candidate(rule) for rule in self.rules)
        self._asked: dict[int, tuple[Candidate, ...]] = {}
        self._text = _TextIndex(self.rules)
        self._domains = _WordIndex(self.rules, Aspect.DOMAINS)
        self._looking = {
            aspect: sum(1 << n for n, rule in enumerate(self.rules) if rule.aspects & aspect)
            for aspect in ASPECTS
            if aspect & (LACKED | SIZE)
        }
        # Files are judged by themselves, too: once, so not by rules that count.
        self.media_rules = tuple(
            rule
            for rule in self.rules
            if rule.aspects & Aspect.MEDIA and not rule.aspects & Aspect.RATE
        )
        self.media_revision = _revision(self.media_rules)
        self._lacking: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.rules)

    def looks_at(self, aspect: int) -> bool:
        """Whether any rule does."""
        return bool(self.aspects & aspect)

    def candidates(self, subject: Subject) -> Iterator[Rule]:
        """The rules that could match, in their order."""
        return (candidate.rule for candidate in self.to_ask(subject))

    def to_ask(self, subject: Subject) -> tuple[Candidate, ...]:
        """The same, each with what is left to ask."""
        place = (
            subject.direction,
            subject.type,
            subject.msgtype,
            subject.sender,
            subject.room_id,
        )
        mask, aspects = self._places.get(place) or self._by_place(place, subject)
        if aspects & LACKED:
            mask &= self._by_lack(subject, aspects)
        if aspects & SIZE:
            mask &= self._by_size.hit(subject)
        found = self._asked.get(mask)
        if found is None:
            found = tuple(self._candidates[number] for number in _bits(mask))
            if len(self._asked) >= REMEMBERED_ANSWERS:
                self._asked.clear()
            self._asked[mask] = found
        return found

    def _by_place(self, place: Key, subject: Subject) -> tuple[int, int]:
        """The rules that could match an event of that shape from that sender in that room, and
        those aspects that have to be looked at for them."""
        mask = self._by_shape.get(place[:3], subject)
        if mask and self.aspects & SENDER:
            mask &= self._by_sender.get((subject.sender,), subject)
        if mask and self.aspects & ROOM:
            mask &= self._by_room.get((subject.room_id,), subject)
        found = mask, sum(aspect for aspect, rules in self._looking.items() if mask & rules)
        if not _is_long(place):
            if len(self._places) >= REMEMBERED_PLACES:
                self._places.clear()
            self._places[place] = found
        return found

    def _by_lack(self, subject: Subject, aspects: int) -> int:
        """The rules that could match, given what the event has not; only ``aspects`` matter."""
        lacks = 0 if subject.invites else Aspect.INVITES
        is_plain = aspects & READ and subject.is_plain()
        if aspects & Aspect.LINKS and (is_plain or not subject.links()):
            lacks |= Aspect.LINKS
        if aspects & Aspect.MENTIONS and (
            (is_plain and MAY_MENTION.isdisjoint(subject.content)) or not subject.mentions()
        ):
            lacks |= Aspect.MENTIONS
        if aspects & Aspect.MEDIA and not subject.media and not subject.media_uris():
            lacks |= Aspect.MEDIA
        hit = 0
        if aspects & Aspect.WORDS:
            hit |= self._text.hit(subject)
        if aspects & Aspect.DOMAINS and not is_plain:
            hit |= self._domains.hit(subject.domains())
        found = self._lacking_mask(lacks | Aspect.WORDS | Aspect.DOMAINS)
        return found | (self._lacking_mask(lacks) & hit) if hit else found

    def _lacking_mask(self, lacks: int) -> int:
        """The rules that could match an event which has nothing of these aspects."""
        mask = self._lacking.get(lacks)
        if mask is None:

            def answer(leaf: Leaf) -> Truth:
                return leaf.when_absent if leaf.aspect & lacks else None

            mask = self._lacking[lacks] = _mask_of(self.rules, answer)
        return mask


def _revision(rules: Sequence[Rule]) -> str:
    """A short text that changes whenever one of the rules does."""
    digest = hashlib.sha256()
    for rule in rules:
        digest.update(rule.fingerprint)
    return digest.hexdigest()[:16]


def _candidate(rule: Rule) -> Candidate:
    rest = rest_of(rule.condition, SETTLED)
    counting = Aspect.RATE if may_count_at_once(rule.condition) else 0
    if rest is None:
        return Candidate(rule, lambda _: True)
    if isinstance(rest, Leaf) and rest.aspect & (AT_HAND | counting):
        return Candidate(rule, rest.test)
    return Candidate(rule, lambda subject: rest.truth(subject, subject.known | counting))


def _bits(mask: int) -> Iterator[int]:
    """The rules in a set, in their order."""
    while mask:
        lowest = mask & -mask
        mask ^= lowest
        yield lowest.bit_length() - 1


def _is_long(key: Key) -> bool:
    return max(map(len, filter(None, key)), default=0) > LONGEST_KEY


def _mask_by(rules: Sequence[Rule], subject: Subject, aspect: int) -> int:
    """The rules that one aspect of an event does not exclude."""
    return sum(
        1 << number
        for number, rule in enumerate(rules)
        if rule.condition.truth(subject, aspect) is not False
    )


def _mask_of(rules: Sequence[Rule], answer: Callable[[Leaf], Truth]) -> int:
    """The rules that these answers do not exclude."""
    return sum(
        1 << number
        for number, rule in enumerate(rules)
        if fold(rule.condition, answer) is not False
    )


class _Remembered:
    """The rules that one aspect of an event does not exclude, by that aspect's value."""

    def __init__(self, rules: Sequence[Rule], aspect: int) -> None:
        self._rules = rules
        self._aspect = aspect
        self._masks: OrderedDict[Key, int] = OrderedDict()

    def get(self, key: Key, subject: Subject) -> int:
        """The rules for a value, which ``subject`` has."""
        mask = self._masks.get(key)
        if mask is None:
            mask = _mask_by(self._rules, subject, self._aspect)
            if _is_long(key):
                return mask
            self._masks[key] = mask
            if len(self._masks) > REMEMBERED:
                self._masks.popitem(last=False)
        return mask


class _SizeIndex:
    """Which rules an event's size does not exclude: it is the same between two of their bounds."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        tests = (leaf for rule in rules for leaf in leaves(rule.condition) if leaf.aspect & SIZE)
        bounds = [leaf.within for leaf in tests if leaf.within is not None]
        edges = {least for least, _ in bounds} | {most + 1 for _, most in bounds}
        self._rules = rules
        self._edges = sorted(edges - {0})
        self._masks: dict[int, int] = {}

    def hit(self, subject: Subject) -> int:
        """The rules for the event's size; most events are smaller than all that rules name."""
        place = 0
        if self._edges and not subject.is_surely_below(self._edges[0]):
            place = bisect_right(self._edges, subject.size_bytes())
        mask = self._masks.get(place)
        if mask is None:
            mask = self._masks[place] = _mask_by(self._rules, subject, SIZE)
        return mask


class _WordIndex:
    """Which rules ask for a word, or for a domain."""

    def __init__(self, rules: Sequence[Rule], aspect: int) -> None:
        self._masks: dict[str, int] = {}
        for number, rule in enumerate(rules):
            for leaf in leaves(rule.condition):
                if leaf.aspect & aspect:
                    for word in _words_asked_for(leaf):
                        self._masks[word] = self._masks.get(word, 0) | 1 << number
        self._words = frozenset(self._masks)

    def hit(self, words: frozenset[str]) -> int:
        """The rules that ask for one of these."""
        mask = 0
        if not self._words.isdisjoint(words):
            for word in self._words & words:
                mask |= self._masks[word]
        return mask


def _words_asked_for(leaf: Leaf) -> frozenset[str]:
    """The words or domains, one of which there must be: of a pattern, for ASCII texts to match."""
    head = first_word(leaf.pattern) if leaf.pattern is not None else None
    return leaf.words if head is None else frozenset((head,))


class _TextIndex:
    """All keywords and patterns of all rules, looked for at once."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._always = 0  # rules of whose text the index cannot tell
        by_pattern: dict[str, int] = {}
        for number, rule in enumerate(rules):
            bit = 1 << number
            for leaf in leaves(rule.condition):
                if leaf.pattern is not None:
                    by_pattern[leaf.pattern] = by_pattern.get(leaf.pattern, 0) | bit
                elif leaf.aspect & Aspect.WORDS and not leaf.words:
                    self._always |= bit
        self._words = _WordIndex(rules, Aspect.WORDS)
        self._patterns = _PatternSet(by_pattern) if by_pattern else None
        # Of an ASCII text, the first word of a pattern tells that it does not match.
        headless = {p: mask for p, mask in by_pattern.items() if first_word(p) is None}
        self._headless = self._patterns
        if len(headless) < len(by_pattern):
            self._headless = _PatternSet(headless) if headless else None

    def hit(self, subject: Subject) -> int:
        """The rules one of whose words or patterns is in the text."""
        text = subject.text()
        if text.isascii():
            patterns, words = self._headless, words_of(text)
        else:
            patterns, words = self._patterns, subject.words()
        found = self._always | self._words.hit(words)
        return found if patterns is None else found | patterns.hit(subject)


class _PatternSet:
    """Many RE2 patterns matched in one pass."""

    def __init__(self, masks: dict[str, int]) -> None:
        self._masks = tuple(masks.values())
        self._everything = 0
        for mask in self._masks:
            self._everything |= mask
        options = regex_options()
        options.max_mem = SET_BYTES
        patterns = re2.Set.SearchSet(options)
        try:
            for pattern in masks:
                patterns.Add(pattern)
            # Matches always; where it is not among the matches, RE2 ran out of memory.
            patterns.Add("")
            patterns.Compile()
            self._set = patterns
        except re2.error:
            self._set = None  # too large together: each rule asks its own

    def hit(self, subject: Subject) -> int:
        """The rules with a pattern that matches."""
        found = self._set.Match(subject.text_bytes()) if self._set is not None else None
        if not found or len(self._masks) not in found:
            return self._everything
        mask = 0
        for number in found:
            if number < len(self._masks):
                mask |= self._masks[number]
        return mask
