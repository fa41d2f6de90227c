"""Logging in with an application's own tokens (JWT), of the issuers that the admin has set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from homeserver.config import ConfigError
from homeserver.protocol.identifiers import UserId
from homeserver.services.sign_in.documents import Documents
from homeserver.services.sign_in.identities import Identities, Vouched
from homeserver.services.sign_in.key_sets import KeyAddress, KeyFile, KeySource, SharedKey
from homeserver.services.sign_in.mapping import display_name, localpart
from homeserver.services.sign_in.settings import Issuer
from homeserver.services.sign_in.tokens import (
    MAX_SUBJECT_LENGTH,
    Expected,
    TokenRefused,
    unverified_issuer,
    verify,
)


class JwtLogin:
    """Knows whom a token of an issuer means."""

    def __init__(
        self,
        *,
        issuers: Sequence[Issuer],
        identities: Identities,
        documents: Documents,
        clock_ms: Callable[[], int],
    ) -> None:
        """Raises :class:`ConfigError` for a key file that cannot be used."""
        self._identities = identities
        self._documents = documents
        self._clock_ms = clock_ms
        self._issuers = {issuer.issuer: (issuer, self._keys(issuer)) for issuer in issuers}

    @property
    def enabled(self) -> bool:
        """Whether there is any issuer."""
        return bool(self._issuers)

    def _keys(self, issuer: Issuer) -> KeySource:
        if issuer.secret is not None:
            try:
                return SharedKey(issuer.secret)
            except ValueError as error:
                raise ConfigError([f"jwt.issuers ({issuer.name}): {error}"]) from None
        if issuer.jwks_file is not None:
            try:
                return KeyFile(issuer.jwks_file)
            except (OSError, ValueError) as error:
                raise ConfigError(
                    [f"jwt.issuers ({issuer.name}): {issuer.jwks_file}: {error}"]
                ) from error
        url = issuer.jwks_url or ""
        return KeyAddress(documents=self._documents, clock_ms=self._clock_ms, url=lambda: url)

    async def sign_in(self, token: str) -> UserId:
        """Whose account a token opens; it is made at first sight, where that is allowed.

        Raises :class:`TokenRefused`, :class:`~homeserver.errors.Forbidden`,
        :class:`~homeserver.errors.PeerFailed` where the issuer's keys cannot be had.
        """
        return await self._identities.sign_in(await self._vouched(token))

    async def proves(self, token: str, user_id: str) -> bool:
        """Whether a token is that of a user who has signed in before."""
        return await self._identities.find(await self._vouched(token)) == user_id

    async def _vouched(self, token: str) -> Vouched:
        found = self._issuers.get(unverified_issuer(token) or "")
        if found is None:
            raise TokenRefused("That is no token of an issuer that this server knows")
        issuer, keys = found
        expected = Expected(
            issuer.issuer, issuer.audiences, issuer.algorithms, issuer.leeway_seconds
        )
        claims = await verify(token, expected, keys, now_seconds=self._clock_ms() // 1000)
        return Vouched(
            provider=f"jwt:{issuer.name}",
            subject=subject_of(claims, issuer.subject_claim),
            localpart=localpart(issuer.localpart, claims),
            display_name=display_name(issuer.display_name, claims),
            create=issuer.create_accounts,
            adopt=issuer.adopt_accounts,
        )


def subject_of(claims: Mapping[str, Any], claim: str) -> str:
    """What an issuer calls the person, for ever.  Raises :class:`TokenRefused`."""
    subject = claims.get(claim)
    if isinstance(subject, int) and not isinstance(subject, bool):
        subject = str(subject)
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH:
        raise TokenRefused(f"The token lacks the claim '{claim}'")
    return subject
