"""User-interactive authentication: an operation goes through once its stages are completed.

A session counts for the operation and user it was begun for, and what was completed in it counts
for one request: with another body it has to be completed again.  A stage whose proof comes with
the request itself needs no session, so a client may send it at once.

Spec: client-server API, user-interactive authentication API.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson
from msgspec import Struct, field

from homeserver.errors import Forbidden, LimitExceeded, MatrixError, MissingParam, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.accounts import AccountService
from homeserver.services.rate_limits import RateLimits
from homeserver.services.sign_in.passwords import PasswordLogin
from homeserver.services.usernames import identified_address, identified_user
from homeserver.storage import uia as storage
from homeserver.storage.database import Database
from homeserver.storage.uia import UiaSession

PASSWORD = "m.login.password"
DUMMY = "m.login.dummy"
REGISTRATION_TOKEN = "m.login.registration_token"
TERMS = "m.login.terms"
EMAIL_IDENTITY = "m.login.email.identity"
# What was shown has to be known: these go only with the session that showed it.
AFTER_CHALLENGE = frozenset({TERMS})
# What shows whose an account is.
IDENTIFYING = frozenset({PASSWORD, EMAIL_IDENTITY, "m.login.sso"})

SESSION_LIFETIME_MS = 30 * 60_000
PRUNE_EVERY_MS = 10 * 60_000
MOST_PENDING = 10_000

Stage = Callable[[JsonObject, str | None], Awaitable[Any]]
"""Checks the proof in an ``auth`` object, for a user if one is logged in.

What it returns is kept as the stage's result; a :class:`MatrixError` says why it is no proof."""

Flows = Sequence[Sequence[str]]


class Operation(Struct, frozen=True):
    """What is to be authenticated: method and path, the body without ``auth``, and for whom.

    ``params``: what the stages show, stage -> parameters.
    """

    name: str
    body: JsonObject
    flows: Flows
    user_id: str | None = None
    params: JsonObject = field(default_factory=dict)

    def request_hash(self) -> bytes:
        """Tells this request from others of the same operation."""
        return _digest(self.body)

    @property
    def key(self) -> str:
        """The operation and what its stages show: a session is for both."""
        return f"{self.name} {_digest(self.params).hex()[:16]}" if self.params else self.name


def _digest(value: JsonObject) -> bytes:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).digest()


class NotYet(MatrixError):
    """A stage may be completed meanwhile, elsewhere: the client asks again with the session alone.

    ``proof``: what of the ``auth`` object is needed then, and no more, as it is kept; None: waiting
    is of no use.
    Spec: user-interactive API in the REST API.
    """

    def __init__(self, text: str, proof: JsonObject | None = None) -> None:
        super().__init__(text)
        self.proof = proof


class AuthenticationRequired(MatrixError):
    """More authentication is needed; the body says which, and what was wrong with the last."""

    errcode, status = "M_FORBIDDEN", 401

    def __init__(
        self, operation: Operation, session: UiaSession, cause: MatrixError | None
    ) -> None:
        super().__init__(cause.text if cause is not None else "Authentication is required")
        self._cause = cause
        self._body: JsonObject = {
            "flows": [{"stages": list(stages)} for stages in operation.flows],
            "params": operation.params,
            "session": session.session_id,
        }
        if session.completed:
            self._body["completed"] = list(session.completed)

    def to_json(self) -> dict[str, Any]:
        """The spec's body: ``errcode`` only where an attempt has failed."""
        if self._cause is None:
            return self._body
        return {"errcode": self._cause.errcode, "error": self._cause.text, **self._body}


class _Attempt(Struct):
    session: UiaSession
    stored: bool
    results: dict[str, Any] = field(default_factory=dict)


class _Waiting(Struct):
    """What a stage waits for outside; ``created_at`` in milliseconds."""

    stage: str
    proof: JsonObject
    created_at: int


class InteractiveAuth:
    """Runs sessions of user-interactive authentication."""

    def __init__(
        self, *, database: Database, stages: Mapping[str, Stage], clock_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._stages = dict(stages)
        self._clock_ms = clock_ms
        self._pruned_at = 0
        self._pending: OrderedDict[str, _Waiting] = OrderedDict()
        """What is tried again when a client asks with the session alone; the oldest first."""

    def add_stage(self, name: str, stage: Stage) -> None:
        """Know a stage, or know it otherwise."""
        self._stages[name] = stage

    async def authenticate(
        self, operation: Operation, auth: JsonObject | None
    ) -> Mapping[str, Any]:
        """What each stage of a completed flow yielded.

        Raises: :class:`AuthenticationRequired` as long as no flow is completed.
        """
        attempt = await self._resume(operation, auth)
        if auth and auth.get("type") is not None:
            await self._try_stage(operation, attempt, str(auth["type"]), auth)
        elif attempt.stored and attempt.session.session_id in self._pending:
            waiting = self._pending[attempt.session.session_id]
            with suppress(AuthenticationRequired):
                await self._try_stage(operation, attempt, waiting.stage, waiting.proof)
        completed = attempt.session.completed
        if any(all(s in completed for s in stages) for stages in operation.flows):
            if await self._finish(attempt):
                return completed
            attempt = _Attempt(self._new_session(operation), stored=False)
        await self._store(attempt)
        raise AuthenticationRequired(operation, attempt.session, None)

    async def complete(self, session_id: str, stage: str, auth: JsonObject) -> None:
        """Complete a stage outside of the request, on the fallback page.

        Raises: what :meth:`get_session_for` raises, and what the stage raises.
        """
        session = await self.get_session_for(session_id, stage)
        result = await self._stages[stage](auth, session.user_id)
        await storage.complete_stage(self._database, session_id, stage, result)

    async def note(self, session_id: str, stage: str, result: Any) -> None:
        """A stage was completed elsewhere.  Raises what :meth:`get_session_for` raises."""
        await self.get_session_for(session_id, stage)
        await storage.complete_stage(self._database, session_id, stage, result)

    async def get_session(self, session_id: str) -> UiaSession:
        """A session under way.  Raises: :class:`NotFound`."""
        session = await self._find(session_id)
        if session is None:
            raise NotFound("This session is unknown or has expired: begin again in your client")
        return session

    async def get_session_for(self, session_id: str, stage: str) -> UiaSession:
        """A session under way, a stage of which is to be completed outside of its request.

        Who begins a session without a token has not said whose account it is about: a link to it
        would have whoever follows the link prove that it is theirs, for somebody else to use.

        Raises: :class:`NotFound`, :class:`Forbidden` for such a proof.
        """
        session = await self.get_session(session_id)
        registers = session.operation.partition(" ")[2].split(" ")[0].endswith("/register")
        if session.user_id is None and stage in IDENTIFYING and not registers:
            raise Forbidden("Nobody is logged in there: give this proof in your client, not here")
        return session

    # ------------------------------------------------------------ steps

    async def _resume(self, operation: Operation, auth: JsonObject | None) -> _Attempt:
        session_id = auth.get("session") if auth else None
        session = await self._find(session_id) if isinstance(session_id, str) else None
        if (
            session is None
            or session.operation != operation.key
            or session.user_id != operation.user_id
        ):
            return _Attempt(self._new_session(operation), stored=False)
        request_hash = operation.request_hash()
        if session.request_hash != request_hash:
            await storage.set_request(self._database, session.session_id, request_hash)
            session.completed.clear()
        return _Attempt(session, stored=True)

    async def _find(self, session_id: str) -> UiaSession | None:
        if "\0" in session_id:
            return None
        session = await storage.get_session(self._database, session_id)
        if session is None or session.created_at <= self._clock_ms() - SESSION_LIFETIME_MS:
            return None
        return session

    def _new_session(self, operation: Operation) -> UiaSession:
        return UiaSession(
            session_id=secrets.token_urlsafe(18),
            operation=operation.key,
            request_hash=operation.request_hash(),
            user_id=operation.user_id,
            completed={},
            created_at=self._clock_ms(),
        )

    async def _try_stage(
        self, operation: Operation, attempt: _Attempt, stage: str, auth: JsonObject
    ) -> None:
        if stage in attempt.session.completed:
            return
        try:
            self._check_order(operation, attempt, stage)
            if stage in AFTER_CHALLENGE and not attempt.stored:
                raise MissingParam("'session' is required: accept what it has shown you")
            result = await self._stages[stage](auth, operation.user_id)
        except LimitExceeded:
            raise
        except MatrixError as error:
            await self._store(attempt)
            if isinstance(error, NotYet) and error.proof is not None:
                self._wait_for(attempt.session, stage, error.proof)
            raise AuthenticationRequired(operation, attempt.session, error) from error
        attempt.session.completed[stage] = result
        attempt.results[stage] = result

    def _wait_for(self, session: UiaSession, stage: str, proof: JsonObject) -> None:
        over = self._clock_ms() - SESSION_LIFETIME_MS
        while self._pending and next(iter(self._pending.values())).created_at <= over:
            self._pending.popitem(last=False)
        known = self._pending.get(session.session_id)
        if known is not None:
            known.stage, known.proof = stage, proof
            return
        self._pending[session.session_id] = _Waiting(stage, proof, self._clock_ms())
        if len(self._pending) > MOST_PENDING:
            self._pending.popitem(last=False)

    def _check_order(self, operation: Operation, attempt: _Attempt, stage: str) -> None:
        """Spec: "the flow's stages must be completed in order"."""
        done = attempt.session.completed
        for stages in operation.flows:
            following = [s for s in stages if s not in done]
            if following and following[0] == stage:
                return
        raise Forbidden("That is not the next stage of any flow")

    async def _store(self, attempt: _Attempt) -> None:
        session = attempt.session
        if not attempt.stored:
            await self._prune()
            await storage.insert_session(self._database, session)
            attempt.stored = True
        for stage, result in attempt.results.items():
            await storage.complete_stage(self._database, session.session_id, stage, result)

    async def _finish(self, attempt: _Attempt) -> bool:
        """End the session; False if a request beside this one has ended it."""
        self._pending.pop(attempt.session.session_id, None)
        if not attempt.stored:
            return True
        return await storage.delete_session(self._database, attempt.session.session_id)

    async def _prune(self) -> None:
        now = self._clock_ms()
        if now - self._pruned_at >= PRUNE_EVERY_MS:
            self._pruned_at = now
            await storage.delete_expired(self._database, now - SESSION_LIFETIME_MS)


# ---------------------------------------------------------------- stages


class PasswordStage:
    """The stage ``m.login.password``; yields the user.  Spec: password-based."""

    def __init__(
        self,
        *,
        server_name: str,
        accounts: AccountService,
        rate_limits: RateLimits,
        identified: Callable[[JsonObject], Awaitable[UserId | None]] | None = None,
    ) -> None:
        """``identified``: whom an ``auth`` object names, where accounts have addresses."""
        self._server_name = server_name
        self._passwords = PasswordLogin(accounts=accounts, rate_limits=rate_limits)
        self._identified = identified

    async def __call__(self, auth: JsonObject, user_id: str | None) -> str:
        """Check the password of whom ``auth`` names, who must be the one who is logged in."""
        password = auth.get("password")
        if not isinstance(password, str):
            raise MissingParam("'password' is required")
        if self._identified is not None:
            named = await self._identified(auth)
        else:
            named = identified_user(auth, self._server_name)
        if named is None and user_id is not None and "identifier" not in auth:
            named = UserId(user_id)
        if user_id is not None and named != user_id:
            raise Forbidden("Give the password of the user who is logged in")
        return await self._passwords.sign_in(named, password, address=identified_address(auth))


async def dummy_stage(_auth: JsonObject, _user_id: str | None) -> bool:
    """Always passes.  Spec: dummy auth."""
    return True


def user_of_results(results: Mapping[str, Any]) -> UserId | None:
    """Who gave their password, if somebody did."""
    user_id = results.get(PASSWORD)
    return UserId(user_id) if user_id is not None else None
