"""A token is taken if it is signed by its issuer, for us, now; else not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from joserfc.jwk import OctKey

from homeserver.errors import PeerFailed
from homeserver.services.sign_in.key_sets import (
    ASK_AGAIN_AFTER_MS,
    FRESH_MS,
    USABLE_MS,
    KeyAddress,
    KeySource,
    SharedKey,
    parse_key_set,
)
from homeserver.services.sign_in.tokens import Expected, TokenRefused, verify
from tests.services.sign_in.signed import NOW, SECRET, new_key, public, signed

HS = Expected("https://shop.test", ["https://one.test"], ["HS256"], 30)
URL = "https://shop.test/keys"


class Published:
    """A key set at an address, which can be exchanged, and the requests for it."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self.requests = 0

    async def get(self, url: str, *, bearer: str | None = None) -> Any:
        self.requests += 1
        if self.document is None:
            raise PeerFailed("away")
        return self.document

    async def post(self, url: str, form: Any, headers: Any) -> Any:
        raise AssertionError("nothing is posted to an issuer of tokens")


def expected(*algorithms: str) -> Expected:
    return Expected("https://shop.test", ["https://one.test"], algorithms, 30)


async def check(token: str, of: Expected = HS, keys: KeySource | None = None) -> dict[str, Any]:
    return await verify(token, of, keys or SharedKey(SECRET), now_seconds=NOW)


async def test_a_token_signed_with_the_shared_key_is_taken() -> None:
    claims = await check(signed())

    assert claims["sub"] == "Alice.1"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_token_signed_with_a_key_of_the_set_is_taken(algorithm: str) -> None:
    key, other = new_key(algorithm), new_key(algorithm, "second")
    keys = KeyAddress(
        documents=Published(public(other, key)), clock_ms=lambda: NOW * 1000, url=lambda: URL
    )

    claims = await check(signed(algorithm, key), expected(algorithm), keys)

    assert claims["iss"] == "https://shop.test"


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 31},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": NOW + 31},
        {"iat": NOW + 31},
        {"aud": "https://other.test"},
        {"aud": ["https://other.test", 7]},
        {"aud": None},
        {"iss": "https://other.test"},
        {"iss": None},
    ],
)
async def test_a_token_not_of_now_or_not_for_us_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(TokenRefused):
        await check(signed(**changes))


@pytest.mark.parametrize("changes", [{"exp": NOW - 29}, {"nbf": NOW + 29}, {"iat": NOW + 29}])
async def test_clocks_may_differ_a_little(changes: dict[str, Any]) -> None:
    assert await check(signed(**changes))


async def test_a_token_for_several_is_taken_if_one_is_us() -> None:
    assert await check(signed(aud=["https://other.test", "https://one.test"]))


async def test_a_token_signed_with_another_secret_is_refused() -> None:
    with pytest.raises(TokenRefused):
        await check(signed(key=OctKey.import_key("another secret that is long enough too")))


async def test_an_unsigned_token_is_refused() -> None:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    _, payload, _ = signed().split(".")

    for header in ({"alg": "none"}, {"alg": "None"}, {}, {"alg": None}, [], "HS256"):
        with pytest.raises(TokenRefused):
            await check(f"{part(header)}.{payload}.")


async def test_the_public_key_is_no_shared_secret() -> None:
    """An issuer with a key set takes no HS256, however the public key is spelled."""
    key = new_key("RS256")
    head, payload, _ = signed().split(".")
    mac = hmac.digest(key.as_pem(private=False), f"{head}.{payload}".encode(), hashlib.sha256)
    forged = f"{head}.{payload}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    keys = KeyAddress(documents=Published(public(key)), clock_ms=lambda: 0, url=lambda: URL)

    with pytest.raises(TokenRefused):
        await check(forged, expected("RS256"), keys)
    with pytest.raises(TokenRefused):
        await check(forged, expected("RS256", "HS256"), keys)


async def test_a_key_set_with_a_shared_key_is_not_taken_for_one() -> None:
    with pytest.raises(ValueError, match="no key"):
        parse_key_set({"keys": [OctKey.import_key(SECRET).as_dict()]})


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "....", "é.é.é", "a" * 20_000, "e30.e30.e30"])
async def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(TokenRefused):
        await check(text)


async def test_a_key_set_is_fetched_once_for_many_tokens() -> None:
    key = new_key("ES256")
    issuer = Published(public(key))
    keys = KeyAddress(documents=issuer, clock_ms=lambda: NOW * 1000, url=lambda: URL)

    for _ in range(5):
        await check(signed("ES256", key), expected("ES256"), keys)

    assert issuer.requests == 1


async def test_a_new_key_is_found_once_it_is_used() -> None:
    old, new = new_key("ES256"), new_key("ES256", "second")
    issuer, now = Published(public(old)), [NOW * 1000]
    keys = KeyAddress(documents=issuer, clock_ms=lambda: now[0], url=lambda: URL)
    await check(signed("ES256", old), expected("ES256"), keys)
    issuer.document = public(new)
    now[0] += ASK_AGAIN_AFTER_MS

    assert await check(signed("ES256", new), expected("ES256"), keys)
    with pytest.raises(TokenRefused):
        await check(signed("ES256", old), expected("ES256"), keys)


async def test_made_up_key_ids_cause_no_storm_of_requests() -> None:
    key = new_key("ES256")
    issuer, now = Published(public(key)), [NOW * 1000]
    keys = KeyAddress(documents=issuer, clock_ms=lambda: now[0], url=lambda: URL)

    for number in range(20):
        now[0] += 100
        with pytest.raises(TokenRefused):
            await check(signed("ES256", new_key("ES256", f"k{number}")), expected("ES256"), keys)

    assert issuer.requests == 1


async def test_an_issuer_that_is_away_leaves_its_keys_good_for_a_day() -> None:
    key = new_key("ES256")
    issuer, now = Published(public(key)), [NOW * 1000]
    keys = KeyAddress(documents=issuer, clock_ms=lambda: now[0], url=lambda: URL)
    await check(signed("ES256", key), expected("ES256"), keys)
    issuer.document = None

    now[0] += FRESH_MS + 1
    assert await check(signed("ES256", key), expected("ES256"), keys)
    now[0] += USABLE_MS
    with pytest.raises(PeerFailed):
        await check(signed("ES256", key), expected("ES256"), keys)
