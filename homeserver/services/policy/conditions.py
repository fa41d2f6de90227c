"""A rule's ``match`` compiled: tests joined by all, any and not.

Truth has three values: None is "not known yet".  What a test looks at is its *aspect*; asked with
only some aspects known, a condition says True or False where that is certain whatever the others
turn out to be.  So the cheap aspects are asked first, the database only where it decides, rates
(which count) last, and the index (:mod:`homeserver.services.policy.index`) is nothing but answers
to "could this match an event of that type, from that sender?".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from homeserver.services.policy.subject import Subject

Truth = bool | None


class Aspect:
    """What a test looks at, a bit each.  Plain numbers: an enumeration's are slow."""

    SHAPE = 1  # type, msgtype, encrypted
    DIRECTION = 2
    SERVER = 4  # the sender's
    SENDER = 8
    ROOM = 16  # the room's ID
    WORDS = 32  # keywords and regular expressions
    DOMAINS = 64  # that links lead to
    LINKS = 128  # how many
    MENTIONS = 256
    INVITES = 512
    OTHER = 1024  # the room's kind and members
    SIZE = 2048
    MEDIA = 4096  # from here on somebody has to look it up
    ACCOUNT = 8192
    STANDING = 16384
    RATE = 32768  # counts, so asked last and once


ASPECTS = tuple(1 << bit for bit in range(16))
AT_HAND = Aspect.MEDIA - 1
LOOKED_UP = (Aspect.MEDIA, Aspect.ACCOUNT, Aspect.STANDING)
ALL_ASPECTS = 2 * Aspect.RATE - 1


class Leaf(Struct, frozen=True, eq=False):
    """One test of one aspect.

    ``when_absent`` is its answer for an event that has none of the aspect: no text, no link, no
    mention, no file, no invite.
    """

    key: str  # as in the configuration
    aspect: int
    test: Callable[[Subject], bool]
    when_absent: bool = False
    words: frozenset[str] = frozenset()  # or domains, one of which there must be for it to match
    pattern: str | None = None  # RE2, which the text must match
    within: tuple[int, int] | None = None  # the bounds of a number, both included

    def truth(self, subject: Subject, known: int) -> Truth:
        """Its answer; None if its aspect is not among ``known``."""
        return self.test(subject) if self.aspect & known else None


class All(Struct, frozen=True, eq=False):
    """True if every part is."""

    parts: tuple[Condition, ...]

    def truth(self, subject: Subject, known: int) -> Truth:
        """False if one is certainly false."""
        unknown = False
        for part in self.parts:
            truth = part.truth(subject, known)
            if truth is False:
                return False
            if truth is None:
                unknown = True
        return None if unknown else True


class Any_(Struct, frozen=True, eq=False):
    """True if one part is."""

    parts: tuple[Condition, ...]

    def truth(self, subject: Subject, known: int) -> Truth:
        """True if one is certainly true."""
        unknown = False
        for part in self.parts:
            truth = part.truth(subject, known)
            if truth:
                return True
            if truth is None:
                unknown = True
        return None if unknown else False


class Not(Struct, frozen=True, eq=False):
    """True if its part is false."""

    part: Condition

    def truth(self, subject: Subject, known: int) -> Truth:
        """The contrary; what is not known stays so."""
        truth = self.part.truth(subject, known)
        return None if truth is None else not truth


Condition = Leaf | All | Any_ | Not


def all_of(parts: Sequence[Condition]) -> Condition:
    """All parts, the cheapest first, those that count last."""
    return parts[0] if len(parts) == 1 else All(tuple(sorted(parts, key=cost)))


def any_of(parts: Sequence[Condition]) -> Condition:
    """Any part, the cheapest first, those that count last."""
    return parts[0] if len(parts) == 1 else Any_(tuple(sorted(parts, key=cost)))


def cost(condition: Condition) -> int:
    """The dearest aspect that it looks at."""
    return max((leaf.aspect for leaf in leaves(condition)), default=0)


def leaves(condition: Condition) -> Iterator[Leaf]:
    """All tests in it."""
    if isinstance(condition, Leaf):
        yield condition
    elif isinstance(condition, Not):
        yield from leaves(condition.part)
    else:
        for part in condition.parts:
            yield from leaves(part)


def aspects_of(condition: Condition) -> int:
    """All that it looks at."""
    aspects = 0
    for leaf in leaves(condition):
        aspects |= leaf.aspect
    return aspects


def rest_of(condition: Condition, settled: Sequence[int]) -> Condition | None:
    """What is left to ask of an event that the condition may match.

    ``settled``: groups of aspects, by each of which the event was not excluded: so what looks at
    nothing beyond one of them is true.  None if that is all.
    """
    parts = condition.parts if isinstance(condition, All) else (condition,)
    left = tuple(part for part in parts if all(aspects_of(part) & ~aspects for aspects in settled))
    if len(left) > 1:
        return All(left)
    return left[0] if left else None


def may_count_at_once(condition: Condition) -> bool:
    """Whether rates are asked only when all else is true, and nothing has to be looked up first."""
    parts = condition.parts if isinstance(condition, All) else (condition,)
    counting = [part for part in parts if aspects_of(part) & Aspect.RATE]
    return all(isinstance(part, Leaf) for part in counting) and not any(
        aspects_of(part) & aspect for part in parts for aspect in LOOKED_UP
    )


def fold(condition: Condition, answer: Callable[[Leaf], Truth]) -> Truth:
    """What follows from given answers of the tests."""
    if isinstance(condition, Leaf):
        return answer(condition)
    if isinstance(condition, Not):
        truth = fold(condition.part, answer)
        return None if truth is None else not truth
    truths = [fold(part, answer) for part in condition.parts]
    deciding = isinstance(condition, Any_)
    if deciding in truths:
        return deciding
    return None if None in truths else not deciding
