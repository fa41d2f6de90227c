"""How users without a password prove again who they are: stages of user-interactive authentication.

Spec: client-server API, user-interactive authentication, single sign-on.
"""

from __future__ import annotations

from collections.abc import Collection

from homeserver.errors import Forbidden, MissingParam
from homeserver.protocol.events import JsonObject
from homeserver.services.interactive_auth import PASSWORD, Flows
from homeserver.services.sign_in.identities import Identities
from homeserver.services.sign_in.jwt_login import JwtLogin
from homeserver.storage import accounts as storage
from homeserver.storage.database import Database

SSO = "m.login.sso"
JWT = "org.matrix.login.jwt"
PASSWORD_FLOWS: Flows = ((PASSWORD,),)


class Proofs:
    """Knows what proves who a user is."""

    def __init__(
        self,
        *,
        database: Database,
        identities: Identities,
        jwt_login: JwtLogin,
        providers: Collection[str],
    ) -> None:
        """``providers``: the IDs of OpenID Connect providers."""
        self._database = database
        self._identities = identities
        self._jwt_login = jwt_login
        self._providers = frozenset(f"oidc:{provider}" for provider in providers)

    async def flows(self, user_id: str) -> Flows:
        """The ways of a user: their password, a provider, an application's token."""
        if not self._providers and not self._jwt_login.enabled:
            return PASSWORD_FLOWS
        account = await storage.get_account(self._database, user_id)
        known = await self._identities.providers(user_id)
        flows = []
        if account is None or account.password_hash is not None:
            flows.append((PASSWORD,))
        if any(provider in self._providers for provider in known):
            flows.append((SSO,))
        if self._jwt_login.enabled and any(name.startswith("jwt:") for name in known):
            flows.append((JWT,))
        return flows or PASSWORD_FLOWS

    async def provider_of(self, user_id: str) -> str | None:
        """The ID of a provider that can confirm who a user is."""
        known = await self._identities.providers(user_id)
        found = next((name for name in known if name in self._providers), None)
        return found.removeprefix("oidc:") if found is not None else None

    async def jwt_stage(self, auth: JsonObject, user_id: str | None) -> str:
        """The stage for an application's token; yields the user."""
        token = auth.get("token")
        if not isinstance(token, str):
            raise MissingParam("'token' is required")
        if user_id is None or not await self._jwt_login.proves(token, user_id):
            raise Forbidden("That token is not the user's who is logged in")
        return user_id


async def sso_stage(_auth: JsonObject, _user_id: str | None) -> str:
    """The stage ``m.login.sso`` as a client cannot complete it: it is completed at the provider."""
    raise Forbidden("Open the fallback page of this stage: the provider confirms who you are")
