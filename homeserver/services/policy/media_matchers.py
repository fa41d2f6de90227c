"""The keys of a rule's ``match`` that look at files: any file of the event may match."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homeserver.services.media_facts import MediaFacts
from homeserver.services.policy import values
from homeserver.services.policy.conditions import Aspect, Condition, Leaf
from homeserver.services.policy.hash_lists import (
    BadHashList,
    PerceptualIndex,
    load_perceptual_list,
    load_sha256_list,
)
from homeserver.services.policy.matchers import Builder, Place, globs
from homeserver.services.policy.subject import Subject
from homeserver.services.policy.values import BadValue

NEAR = 6  # bits, where a rule names no distance
FARTHEST = 20


def _media_test(key: str, matches: Callable[[MediaFacts], bool]) -> Leaf:
    def test(subject: Subject) -> bool:
        return subject.media is not None and any(matches(facts) for facts in subject.media)

    return Leaf(key, Aspect.MEDIA, test)


def _mime_type(key: str, value: Any, place: Place) -> Condition:
    matches = globs(key, [glob.lower() for glob in values.texts(key, value)])
    return _media_test(key, lambda facts: matches(facts.mime_type))


def _number(get: Callable[[MediaFacts], int | None]) -> Builder:
    def build(key: str, value: Any, place: Place) -> Condition:
        wanted = values.bounds(key, value)

        def matches(facts: MediaFacts) -> bool:
            number = get(facts)
            return number is not None and number in wanted

        return _media_test(key, matches)

    return build


def _known_file(key: str, value: Any, place: Place) -> Condition:
    given = values.mapping(key, value, ("sha256", "perceptual", "distance"))
    if "sha256" not in given and "perceptual" not in given:
        raise BadValue(key, "missing; name sha256, perceptual or both")
    distance = values.whole_number(f"{key}.distance", given.get("distance", NEAR), 0, FARTHEST)
    exact: frozenset[bytes] = frozenset()
    alike: PerceptualIndex | None = None
    if "sha256" in given:
        exact = _sha256_hashes(f"{key}.sha256", given["sha256"], place)
    if "perceptual" in given:
        alike = _perceptual_hashes(f"{key}.perceptual", given["perceptual"], place)

    def matches(facts: MediaFacts) -> bool:
        if facts.sha256 in exact:
            return True
        picture = facts.perceptual_hash
        return (
            alike is not None
            and picture is not None
            and alike.nearest(picture, distance) is not None
        )

    return _media_test(key, matches)


def _sha256_hashes(key: str, value: Any, place: Place) -> frozenset[bytes]:
    if isinstance(value, dict):
        try:
            return load_sha256_list(place.file(key, value))
        except BadHashList as error:
            raise BadValue(key, str(error)) from error
    return frozenset(bytes.fromhex(_hex(key, text, 64)) for text in values.texts(key, value))


def _perceptual_hashes(key: str, value: Any, place: Place) -> PerceptualIndex:
    if isinstance(value, dict):
        try:
            return load_perceptual_list(place.file(key, value))
        except BadHashList as error:
            raise BadValue(key, str(error)) from error
    return PerceptualIndex(int(_hex(key, text, 16), 16) for text in values.texts(key, value))


def _hex(key: str, text: str, digits: int) -> str:
    if len(text) != digits or not set(text.lower()) <= set("0123456789abcdef"):
        raise values.bad(key, text, f"{digits} hexadecimal digits, in quotes")
    return text


MEDIA_BUILDERS: dict[str, Builder] = {
    "mime_type": _mime_type,
    "file_size_bytes": _number(lambda facts: facts.size_bytes),
    "image_width": _number(lambda facts: facts.width),
    "image_height": _number(lambda facts: facts.height),
    "known_file": _known_file,
}
