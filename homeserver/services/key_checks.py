"""Whether keys that clients and other instances send have the shape that the spec gives them.

Spec: client-server API, end-to-end encryption, device keys, one-time keys, cross-signing.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import orjson

from homeserver.errors import BadJson, InvalidParam, TooLarge
from homeserver.protocol.events import JsonObject
from homeserver.services.values import is_object, is_text, is_user_id
from homeserver.storage.end_to_end_keys import Key

MAX_KEY_BYTES = 65_536
MAX_KEYS_PER_UPLOAD = 500
USAGES = ("master", "self_signing", "user_signing")


def is_string_map(value: Any) -> TypeGuard[dict[str, str]]:
    """Whether a value is an object of strings."""
    return is_object(value) and all(isinstance(item, str) for item in value.values())


def is_signatures(value: Any) -> bool:
    """Whether a value maps user IDs to key IDs to signatures."""
    return is_object(value) and all(is_string_map(by_key) for by_key in value.values())


def is_device_keys(value: Any, user_id: str, device_id: str) -> TypeGuard[JsonObject]:
    """Whether a value is the identity keys of this device."""
    return (
        is_object(value)
        and value.get("user_id") == user_id
        and value.get("device_id") == device_id
        and isinstance(value.get("algorithms"), list)
        and is_string_map(value.get("keys"))
        and is_signatures(value.get("signatures", {}))
        and "\\u0000" not in (text := orjson.dumps(value).decode())
        and len(text) <= MAX_KEY_BYTES
    )


def check_device_keys(value: JsonObject, user_id: str, device_id: str) -> None:
    """Raise :class:`InvalidParam` or :class:`BadJson` unless these are this device's keys."""
    if value.get("user_id") != user_id or value.get("device_id") != device_id:
        raise InvalidParam("'device_keys' must bear your own user ID and device ID")
    if not is_device_keys(value, user_id, device_id):
        raise BadJson("'device_keys' needs 'algorithms', 'keys' and 'signatures' as specified")


def is_cross_signing_key(value: Any, user_id: str, usage: str) -> TypeGuard[JsonObject]:
    """Whether a value is a user's cross-signing key for a usage: with one key, named by itself."""
    if not is_object(value) or value.get("user_id") != user_id:
        return False
    usages, keys = value.get("usage"), value.get("keys")
    if not isinstance(usages, list) or usage not in usages or not is_string_map(keys):
        return False
    if len(keys) != 1 or not is_signatures(value.get("signatures", {})):
        return False
    ((key_id, key),) = keys.items()
    text = orjson.dumps(value).decode()
    if "\\u0000" in text or len(text) > MAX_KEY_BYTES:
        return False
    return is_text(key) and key_id == f"ed25519:{key}"


def check_cross_signing_key(value: JsonObject, user_id: str, usage: str) -> None:
    """Raise :class:`InvalidParam` unless this is the user's key for that usage."""
    if not is_cross_signing_key(value, user_id, usage):
        raise InvalidParam(
            f"The {usage} key must bear your user ID, that usage, and one key named 'ed25519:' and "
            "the public key itself"
        )


def parse_keys(keys: JsonObject) -> list[Key]:
    """One-time or fallback keys, named ``<algorithm>:<key_id>``.

    Raises :class:`BadJson`, :class:`TooLarge`.
    """
    if len(keys) > MAX_KEYS_PER_UPLOAD:
        raise TooLarge(f"At most {MAX_KEYS_PER_UPLOAD} keys may be uploaded at once")
    return [_parse_key(name, key) for name, key in keys.items()]


def parse_fallback_keys(keys: JsonObject) -> list[Key]:
    """Fallback keys, one for an algorithm.

    Raises :class:`BadJson`, :class:`InvalidParam`, :class:`TooLarge`.
    """
    parsed = parse_keys(keys)
    if len({key.algorithm for key in parsed}) != len(parsed):
        raise InvalidParam("There may be one fallback key for an algorithm")
    return parsed


def _parse_key(name: str, key: Any) -> Key:
    algorithm, _, key_id = name.partition(":")
    if not is_text(algorithm) or not is_text(key_id):
        raise BadJson(f"'{name}' must be of the form <algorithm>:<key_id>")
    if not isinstance(key, str | dict):
        raise BadJson(f"The key '{name}' must be a string or an object")
    if len(orjson.dumps(key)) > MAX_KEY_BYTES:
        raise TooLarge(f"A key may have at most {MAX_KEY_BYTES} bytes")
    return Key(algorithm, key_id, key)


def parse_query(body: JsonObject) -> dict[str, list[str]]:
    """The ``device_keys`` of a query: user ID -> device IDs.  Raises :class:`BadJson`."""
    wanted = body.get("device_keys")
    if not is_object(wanted):
        raise BadJson("'device_keys' must map user IDs to lists of device IDs")
    for user_id, device_ids in wanted.items():
        if not is_user_id(user_id):
            raise BadJson("'device_keys' must be keyed by user ID")
        if not isinstance(device_ids, list) or not all(isinstance(i, str) for i in device_ids):
            raise BadJson("'device_keys' must map user IDs to lists of device IDs")
    return wanted


def parse_claims(body: JsonObject) -> dict[str, dict[str, str]]:
    """The ``one_time_keys`` of a claim: user ID -> device ID -> algorithm.

    Raises :class:`BadJson`.
    """
    claims = body.get("one_time_keys")
    if not is_object(claims) or not all(is_string_map(item) for item in claims.values()):
        raise BadJson("'one_time_keys' must map user IDs to device IDs to algorithms")
    if not all(is_user_id(user_id) for user_id in claims):
        raise BadJson("'one_time_keys' must be keyed by user ID")
    return claims
