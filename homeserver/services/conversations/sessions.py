"""Who signs in to the Conversations API, and what needs more than an access token.

Whoever changes how an account is reached (its password, its other devices, its end) proves again
who they are: an access token alone may have been found.  Who has just signed in has proved it.
"""

from __future__ import annotations

from collections.abc import Callable

from homeserver.errors import Forbidden, InvalidParam
from homeserver.protocol.identifiers import UserId
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.shapes.sessions import NewSession, Proof
from homeserver.services.requester import Requester
from homeserver.services.sessions import SessionService
from homeserver.services.sign_in.jwt_login import JwtLogin
from homeserver.services.sign_in.passwords import PasswordLogin
from homeserver.services.usernames import parse_user
from homeserver.storage import devices as device_storage
from homeserver.storage.database import Database

FRESH_MS = 10 * 60_000


class SignIn:
    """Checks what people sign in with, and what they prove themselves with."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        sessions: SessionService,
        passwords: PasswordLogin,
        jwt_login: JwtLogin,
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._sessions = sessions
        self._passwords = passwords
        self._jwt_login = jwt_login
        self._clock_ms = clock_ms

    async def who(self, given: NewSession) -> UserId:
        """Who signs in.  Raises :class:`~homeserver.errors.Forbidden`, :class:`InvalidParam`."""
        ways = [given.password is not None, given.jwt is not None, given.login_token is not None]
        if sum(ways) != 1:
            raise InvalidParam("Give one of 'user' with 'password', 'jwt' and 'login_token'")
        if given.password is not None:
            if given.user is None:
                raise InvalidParam("'user' is required with 'password'")
            return await self._passwords.sign_in(self._local(given.user), given.password)
        if given.user is not None:
            raise InvalidParam("'user' goes with 'password' alone")
        if given.jwt is not None:
            return await self._jwt_login.sign_in(given.jwt)
        return await self._sessions.use_login_token(given.login_token or "")

    def _local(self, text: str) -> UserId | None:
        user_id = parse_user(text, self._server_name)
        if user_id is None or user_id.server_name != self._server_name:
            return None
        return user_id

    async def fresh_until(self, requester: Requester) -> int | None:
        """Until when (ms) a device's user has just signed in; None if they have not."""
        if requester.device_id is None:
            return None
        at = await device_storage.get_authenticated_at(
            self._database, requester.user_id, requester.device_id
        )
        until = (at or 0) + FRESH_MS
        return until if until > self._clock_ms() else None

    async def require_proof(self, requester: Requester, proof: Proof) -> None:
        """Let pass who proves that they are the user, or has just signed in.

        Raises: :class:`Problem` ``proof_required``, :class:`~homeserver.errors.Forbidden`.
        """
        if not await self._proves(requester, proof):
            if await self.fresh_until(requester) is not None:
                return
            raise Problem(
                "proof_required",
                "Give 'password', 'jwt' or 'login_token' to prove that it is you, or sign in again",
                status=403,
            )

    async def _proves(self, requester: Requester, proof: Proof) -> bool:
        """Whether a proof is given.  Raises :class:`Forbidden` for one that is none."""
        user_id = requester.user_id
        if proof.password is not None:
            await self._passwords.sign_in(user_id, proof.password)
            return True
        if proof.jwt is not None:
            if not await self._jwt_login.proves(proof.jwt, user_id):
                raise Forbidden("That token is not the user's who is signed in")
            return True
        if proof.login_token is not None:
            if await self._sessions.use_login_token(proof.login_token) != user_id:
                raise Forbidden("That login token is not the user's who is signed in")
            return True
        return False
