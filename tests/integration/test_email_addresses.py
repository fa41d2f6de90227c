"""E-mail addresses of accounts, with a real SMTP server: registration, passwords, contacts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from homeserver.config import RateConfig
from homeserver.storage.database import Database
from tests.harness.mailbox import Mailbox, mailbox, settings
from tests.integration.single import Instance, running

ADDRESS = "Alice@Example.org"
CANONICAL = "alice@example.org"
SECRET = "monkeys_are_GREAT"
STAGE = "m.login.email.identity"


class World:
    """An instance and where its mail goes."""

    def __init__(self, one: Instance, box: Mailbox) -> None:
        self.one = one
        self.box = box

    async def ask(self, where: str, status: int = 200, **body: Any) -> dict[str, Any]:
        """Ask for a mail."""
        request = {"client_secret": SECRET, "email": ADDRESS, "send_attempt": 1, **body}
        return await self.one.call("POST", f"{where}/email/requestToken", request, status=status)

    async def follow(self, number: int = -1) -> tuple[int, str]:
        """Follow the link in a mail, and press the button: the status, and the page."""
        link = self.box.link(number)
        path = link[link.index("/_comity") :]
        async with self.one.client.get(path) as response:
            assert response.status == 200, await response.text()
        token = path.rpartition("=")[2]
        async with self.one.client.post(
            path.partition("?")[0], data={"token": token}, allow_redirects=False
        ) as response:
            return response.status, response.headers.get("Location") or await response.text()

    async def credentials(self, where: str, **body: Any) -> dict[str, Any]:
        """The credentials of an address that was confirmed."""
        sid = (await self.ask(where, **body))["sid"]
        await self.follow()
        return {"sid": sid, "client_secret": body.get("client_secret", SECRET)}

    async def add(self, token: str, *, password: str = "sesame", **body: Any) -> None:
        """Add an address to an account."""
        creds = await self.credentials("/account/3pid", **body)
        auth = {"type": "m.login.password", "password": password}
        await self.one.call("POST", "/account/3pid/add", {**creds, "auth": auth}, token=token)

    async def addresses(self, token: str) -> list[str]:
        """The addresses of an account."""
        answer = await self.one.call("GET", "/account/3pid", token=token)
        return [entry["address"] for entry in answer["threepids"]]

    async def log_in(self, password: str, status: int = 200, **identifier: Any) -> dict[str, Any]:
        """Log in by password."""
        identifier = identifier or {
            "type": "m.id.thirdparty",
            "medium": "email",
            "address": ADDRESS,
        }
        request = {"type": "m.login.password", "identifier": identifier, "password": password}
        return await self.one.call("POST", "/login", request, status=status)


@asynccontextmanager
async def world_with(
    database: Database, directory: Path, registration: dict[str, Any] | None = None, **email: Any
) -> AsyncIterator[World]:
    """An instance that sends mail."""
    async with (
        mailbox() as box,
        running(
            database,
            directory,
            registration={"mode": "open", **(registration or {})},
            email=settings(box, **email),
        ) as one,
    ):
        yield World(one, box)


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with world_with(database, tmp_path) as made:
        yield made


# ---------------------------------------------------------------- registration


async def test_an_account_is_made_with_an_address(world: World) -> None:
    sid = (await world.ask("/register"))["sid"]
    request: dict[str, Any] = {"username": "alice", "password": "sesame"}
    offered = await world.one.call("POST", "/register", request, status=401)
    session = offered["session"]
    assert {"stages": [STAGE, "m.login.dummy"]} in offered["flows"]
    assert {"stages": ["m.login.dummy"]} in offered["flows"]
    creds = {"sid": sid, "client_secret": SECRET}
    auth = {"type": STAGE, "session": session, "threepid_creds": creds}

    early = await world.one.call("POST", "/register", {**request, "auth": auth}, status=401)
    await world.follow()
    confirmed = await world.one.call("POST", "/register", {**request, "auth": auth}, status=401)
    auth = {"type": "m.login.dummy", "session": session}
    made = await world.one.call("POST", "/register", {**request, "auth": auth})

    assert early["errcode"] == "M_UNAUTHORIZED"  # which Element keeps from its user
    assert confirmed["completed"] == [STAGE]
    assert await world.addresses(made["access_token"]) == [CANONICAL]
    assert (await world.log_in("sesame"))["user_id"] == "@alice:one.test"


async def test_an_address_may_be_required(database: Database, tmp_path: Path) -> None:
    async with world_with(database, tmp_path, {"require_email": True}) as world:
        request = {"username": "alice", "password": "sesame"}
        offered = await world.one.call("POST", "/register", request, status=401)

        auth = {"type": "m.login.dummy", "session": offered["session"]}
        refused = await world.one.call("POST", "/register", {**request, "auth": auth}, status=401)

    assert all(STAGE in flow["stages"] for flow in offered["flows"])
    assert {"stages": [STAGE, "m.login.dummy"]} in offered["flows"]
    assert refused["errcode"] == "M_FORBIDDEN"


async def test_a_mail_for_a_password_makes_no_account(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    creds = await world.credentials("/account/password")
    request: dict[str, Any] = {"username": "eve", "password": "sesame"}

    auth = {"type": STAGE, "threepid_creds": creds}
    session = (await world.one.call("POST", "/register", {**request, "auth": auth}, status=401))[
        "session"
    ]
    auth = {"type": "m.login.dummy", "session": session}
    refused = await world.one.call("POST", "/register", {**request, "auth": auth}, status=401)

    assert refused["errcode"] == "M_THREEPID_AUTH_FAILED"


# ---------------------------------------------------------------- one mail, one session


async def test_the_same_attempt_is_one_session_and_one_mail(world: World) -> None:
    first = await world.ask("/register")
    again = await world.ask("/register", email=CANONICAL)
    reminder = await world.ask("/register", send_attempt=2)
    other = await world.ask("/register", client_secret="other")

    assert first == again == reminder
    assert other != first
    assert len(world.box.mails) == 3
    assert world.box.link(0) == world.box.link(1) != world.box.link(2)


async def test_opening_the_link_alone_confirms_nothing(world: World) -> None:
    token = await world.one.register("alice")
    sid = (await world.ask("/account/3pid"))["sid"]
    link = world.box.link()

    async with world.one.client.get(link[link.index("/_comity") :]) as response:
        assert response.status == 200

    body = {"sid": sid, "client_secret": SECRET}
    answer = await world.one.call("POST", "/account/3pid/add", body, token=token, status=401)
    assert answer["errcode"] == "M_THREEPID_AUTH_FAILED"


async def test_a_link_is_good_for_a_time_only(world: World) -> None:
    await world.ask("/account/3pid")
    await world.one.wiring.database.execute("UPDATE third_party_sessions SET created_at = 1")

    link = world.box.link()
    async with world.one.client.get(link[link.index("/_comity") :]) as response:
        assert response.status == 404
    async with world.one.client.get("/_comity/email/confirm?token=guess") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"email": "alice"}, "M_INVALID_PARAM"),
        ({"email": "a@b.test\r\nBcc: c@d.test"}, "M_INVALID_PARAM"),
        ({"client_secret": "ä"}, "M_INVALID_PARAM"),
        ({"client_secret": ""}, "M_INVALID_PARAM"),
        ({"send_attempt": -1}, "M_INVALID_PARAM"),
        ({"send_attempt": "1"}, "M_BAD_JSON"),
        ({"next_link": "javascript:alert(1)"}, "M_INVALID_PARAM"),
        ({"next_link": "https://a.test/\r\nX: y"}, "M_INVALID_PARAM"),
        ({"next_link": "//a.test"}, "M_INVALID_PARAM"),
        ({"next_link": "https://app.test@evil.test/"}, "M_INVALID_PARAM"),
        ({"next_link": "https://evil.test\\@app.test/"}, "M_INVALID_PARAM"),
        ({"next_link": "https://app.test\\.evil.test/"}, "M_INVALID_PARAM"),
        ({"email": None}, "M_MISSING_PARAM"),
    ],
)
async def test_impossible_requests_are_refused(
    world: World, body: dict[str, Any], errcode: str
) -> None:
    for where in ("/register", "/account/password", "/account/3pid"):
        assert (await world.ask(where, 400, **body))["errcode"] == errcode
    assert world.box.mails == []


async def test_people_are_sent_on_by_themselves_only_where_the_admin_says(
    database: Database, tmp_path: Path
) -> None:
    listed = ["https://app.test/#/*"]
    async with world_with(database, tmp_path, next_link_urls=listed) as world:
        await world.ask("/register", next_link="https://app.test/#/done")
        known = await world.follow()
        await world.ask("/register", client_secret="2", next_link="https://evil.test/")
        unknown = await world.follow()

    assert known == (302, "https://app.test/#/done")
    assert unknown[0] == 200
    assert 'href="https://evil.test/"' in unknown[1]
    assert "Go on to evil.test" in unknown[1]


async def test_the_admin_says_which_domains(database: Database, tmp_path: Path) -> None:
    async with world_with(database, tmp_path, allowed_domains=["*.example.org"]) as world:
        refused = await world.ask("/register", 403)
        await world.ask("/register", email="alice@mail.example.org")

    assert refused["errcode"] == "M_THREEPID_DENIED"


async def test_a_mail_server_that_is_away_is_said(world: World) -> None:
    world.box.answers.append("451 come back later")

    answer = await world.ask("/register", 503)

    assert "try again" in answer["error"]


# ---------------------------------------------------------------- who has an account


async def test_who_asks_does_not_learn_who_has_an_account(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    sent = len(world.box.mails)

    taken = await world.ask("/register")
    free = await world.ask("/register", email="bob@example.org")
    known = await world.ask("/account/password")
    unknown = await world.ask("/account/password", email="bob@example.org")

    assert {*taken} == {*free} == {*known} == {*unknown} == {"sid"}
    texts = [world.box.text(number) for number in range(sent, sent + 4)]
    assert "belongs to the account @alice:one.test already" in texts[0]
    assert "confirm?token=" not in texts[0] and "confirm?token=" in texts[1]
    assert "new password for the account @alice:one.test" in texts[2]
    assert "no account there has this address" in texts[3].replace("\n", " ")


async def test_unless_the_admin_wants_it(database: Database, tmp_path: Path) -> None:
    async with world_with(database, tmp_path, reveal_accounts=True) as world:
        token = await world.one.register("alice")
        await world.add(token)

        taken = await world.ask("/register", 400)
        unknown = await world.ask("/account/password", 400, email="bob@example.org")

    assert (taken["errcode"], unknown["errcode"]) == ("M_THREEPID_IN_USE", "M_THREEPID_NOT_FOUND")


# ---------------------------------------------------------------- a new password


async def test_a_password_is_set_anew_by_mail(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    creds = await world.credentials("/account/password")
    auth = {"type": STAGE, "threepid_creds": creds}
    request = {"new_password": "open barley", "auth": auth}

    await world.one.call("POST", "/account/password", request)

    await world.one.call("GET", "/account/whoami", token=token, status=401)
    await world.log_in("sesame", 403)
    assert (await world.log_in("open barley"))["user_id"] == "@alice:one.test"
    mails = await world.box.wait_for(3)
    assert "was changed" in mails[-1]["Subject"]
    again = await world.one.call("POST", "/account/password", request, status=401)
    assert again["errcode"] == "M_UNAUTHORIZED"


async def test_devices_stay_logged_in_if_the_client_says_so(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    creds = await world.credentials("/account/password")
    auth = {"type": STAGE, "threepid_creds": creds}

    request = {"new_password": "open barley", "auth": auth, "logout_devices": False}
    await world.one.call("POST", "/account/password", request)

    await world.one.call("GET", "/account/whoami", token=token)


@pytest.mark.parametrize("purpose", ["/register", "/account/3pid"])
async def test_other_mails_set_no_password(world: World, purpose: str) -> None:
    token = await world.one.register("alice")
    creds = await world.credentials(purpose, email="bob@example.org")
    await world.add(token)
    auth = {"type": STAGE, "threepid_creds": creds}

    refused = await world.one.call(
        "POST", "/account/password", {"new_password": "open barley", "auth": auth}, status=401
    )

    assert refused["errcode"] == "M_THREEPID_AUTH_FAILED"
    await world.log_in("sesame")


async def test_a_secret_that_is_not_the_sessions_proves_nothing(world: World) -> None:
    token = await world.one.register("alice")
    creds = await world.credentials("/account/3pid")

    for wrong in ({"client_secret": "guess"}, {"sid": "guess"}, {"sid": "\0"}):
        body = {**creds, **wrong}
        answer = await world.one.call("POST", "/account/3pid/add", body, token=token, status=401)
        assert answer["errcode"] == "M_THREEPID_AUTH_FAILED"


# ---------------------------------------------------------------- contacts


async def test_adding_asks_who_one_is(world: World) -> None:
    token = await world.one.register("alice")
    creds = await world.credentials("/account/3pid")

    for path, body in (
        ("/account/3pid/add", creds),
        ("/account/3pid", {"three_pid_creds": creds}),
    ):
        answer = await world.one.call("POST", path, body, token=token, status=401)
        assert "m.login.password" in str(answer["flows"])
    assert await world.addresses(token) == []


async def test_an_address_belongs_to_one_account(world: World) -> None:
    alice, bob = await world.one.register("alice"), await world.one.register("bob")
    theirs = await world.credentials("/account/3pid")
    auth = {"type": "m.login.password", "password": "sesame"}
    await world.one.call("POST", "/account/3pid/add", {**theirs, "auth": auth}, token=alice)

    second = {"sid": theirs["sid"], "client_secret": SECRET, "auth": auth}
    used = await world.one.call("POST", "/account/3pid/add", second, token=bob, status=401)

    assert used["errcode"] == "M_THREEPID_AUTH_FAILED"
    assert await world.addresses(bob) == []


async def test_two_who_confirmed_the_same_address_do_not_share_it(world: World) -> None:
    alice, bob = await world.one.register("alice"), await world.one.register("bob")
    first = await world.credentials("/account/3pid")
    sid = (await world.ask("/account/3pid", client_secret="other"))["sid"]
    await world.follow()
    auth = {"type": "m.login.password", "password": "sesame"}
    await world.one.call("POST", "/account/3pid/add", {**first, "auth": auth}, token=alice)

    body = {"sid": sid, "client_secret": "other", "auth": auth}
    answer = await world.one.call("POST", "/account/3pid/add", body, token=bob, status=400)

    assert answer["errcode"] == "M_THREEPID_IN_USE"
    assert await world.addresses(alice) == [CANONICAL]


async def test_a_removed_address_logs_nobody_in(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    body = {"medium": "email", "address": ADDRESS}

    answer = await world.one.call("POST", "/account/3pid/delete", body, token=token)

    assert answer == {"id_server_unbind_result": "no-support"}
    assert await world.addresses(token) == []
    await world.log_in("sesame", 403)


async def test_addresses_end_with_the_account(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    auth = {"type": "m.login.password", "password": "sesame"}

    answer = await world.one.call("POST", "/account/deactivate", {"auth": auth}, token=token)
    await world.one.wiring.account_deletion.settle()

    assert answer == {"id_server_unbind_result": "success"}
    bob = await world.one.register("bob")
    await world.add(bob, client_secret="bobs")
    assert await world.addresses(bob) == [CANONICAL]


async def test_an_address_proves_who_one_is_beside_the_user_name(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    identifier = {"type": "m.id.thirdparty", "medium": "email", "address": CANONICAL}
    auth = {"type": "m.login.password", "identifier": identifier, "password": "sesame"}

    await world.one.call("POST", "/account/deactivate", {"auth": auth}, token=token)


async def test_telephone_numbers_are_not_supported(world: World) -> None:
    body = {"client_secret": "a", "country": "GB", "phone_number": "07700900001", "send_attempt": 1}

    for where, status, errcode in [
        ("/register", 403, "M_THREEPID_DENIED"),
        ("/account/password", 403, "M_THREEPID_DENIED"),
        ("/account/3pid", 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"),
    ]:
        answer = await world.one.call("POST", f"{where}/msisdn/requestToken", body, status=status)
        assert answer["errcode"] == errcode


async def test_without_mail_there_are_no_addresses(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        token = await one.register("alice")
        body = {"client_secret": "a", "email": ADDRESS, "send_attempt": 1}
        answer = await one.call("POST", "/register/email/requestToken", body, status=403)
        told = await one.call("GET", "/capabilities", token=token)

    assert answer["errcode"] == "M_THREEPID_DENIED"
    assert told["capabilities"]["m.3pid_changes"] == {"enabled": False}


async def test_a_client_may_ask_again_with_the_session_alone(world: World) -> None:
    sid = (await world.ask("/register"))["sid"]
    request: dict[str, Any] = {"username": "alice", "password": "sesame"}
    creds = {"sid": sid, "client_secret": SECRET}
    auth: dict[str, Any] = {"type": STAGE, "threepid_creds": creds}
    first = await world.one.call("POST", "/register", {**request, "auth": auth}, status=401)
    alone = {"session": first["session"]}

    early = await world.one.call("POST", "/register", {**request, "auth": alone}, status=401)
    await world.follow()
    later = await world.one.call("POST", "/register", {**request, "auth": alone}, status=401)

    assert "completed" not in early and "errcode" not in early
    assert later["completed"] == [STAGE]


async def test_of_a_proof_that_is_waited_for_only_what_is_needed_is_kept_and_not_for_ever(
    world: World,
) -> None:
    request: dict[str, Any] = {"username": "alice", "password": "sesame"}
    interactive = world.one.wiring.interactive_auth
    creds = {"sid": "guess", "client_secret": "guess", "more": "x" * 10_000}
    auth: dict[str, Any] = {"type": STAGE, "threepid_creds": creds, "more": "x" * 10_000}
    long = {**auth, "threepid_creds": {"sid": "guess", "client_secret": "x" * 10_000}}

    first = await world.one.call("POST", "/register", {**request, "auth": auth}, status=401)
    await world.one.call("POST", "/register", {**request, "auth": long}, status=401)

    kept = {session: waiting.proof for session, waiting in interactive._pending.items()}
    assert kept == {
        first["session"]: {"threepid_creds": {"sid": "guess", "client_secret": "guess"}}
    }
    interactive._pending[first["session"]].created_at -= 31 * 60_000
    second = await world.one.call("POST", "/register", {**request, "auth": auth}, status=401)
    assert list(interactive._pending) == [second["session"]]


async def test_who_signs_in_at_a_provider_alone_is_given_no_password_by_mail(
    world: World,
) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    await world.one.wiring.database.execute("UPDATE accounts SET password_hash = NULL")
    request: dict[str, Any] = {"new_password": "another"}

    async def reset(secret: str, status: int) -> dict[str, Any]:
        creds = await world.credentials("/account/password", client_secret=secret)
        auth = {"type": STAGE, "threepid_creds": creds}
        body = {**request, "auth": auth}
        return await world.one.call("POST", "/account/password", body, status=status)

    await world.one.wiring.database.execute(
        "INSERT INTO external_identities (provider, subject_hash, user_id, created_at) "
        "VALUES ('oidc:work', 'x', '@alice:one.test', 1)"
    )
    refused = await reset("1", 403)
    await world.log_in("another", 403)
    await world.one.wiring.database.execute("DELETE FROM external_identities")
    await reset("2", 200)

    assert "no password" in refused["error"]
    await world.log_in("another")


@pytest.mark.parametrize("by_authentication", [False, True])
async def test_refusals_do_not_tell_whether_an_address_is_an_accounts(
    world: World, by_authentication: bool
) -> None:
    await world.add(await world.one.register("alice"))
    limits = world.one.wiring.rate_limits
    limits._rates["login"] = RateConfig(per_second=1_000, burst=1_000)
    limits._rates["login_account"] = RateConfig(per_second=0.001, burst=2)
    limits._enabled = True

    async def guess(address: str) -> int:
        identifier = {"type": "m.id.thirdparty", "medium": "email", "address": address}
        proof = {"type": "m.login.password", "identifier": identifier, "password": "wrong"}
        body: dict[str, Any] = {"new_password": "other", "auth": proof}
        where, request = ("account/password", body) if by_authentication else ("login", proof)
        path = f"/_matrix/client/v3/{where}"
        async with world.one.client.post(path, json=request) as response:
            return response.status

    known = [await guess(spelling) for spelling in (ADDRESS, CANONICAL, ADDRESS)]
    unknown = [await guess(f"{name}@example.org") for name in ("nobody", "Nobody", "nobody")]

    refused = 401 if by_authentication else 403
    assert known == unknown == [refused, refused, 429]


async def test_logging_in_by_address_is_not_counted_as_a_guess(world: World) -> None:
    await world.add(await world.one.register("alice"))
    limits = world.one.wiring.rate_limits
    limits._rates["login"] = RateConfig(per_second=1_000, burst=1_000)
    limits._rates["login_account"] = RateConfig(per_second=0.001, burst=2)
    limits._enabled = True

    answers = [await world.log_in("sesame") for _ in range(4)]

    assert {answer["user_id"] for answer in answers} == {"@alice:one.test"}


# ---------------------------------------------------------------- pages


async def test_a_mail_from_the_page_sets_no_password_for_whoever_sent_the_link(
    world: World,
) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    request = {"new_password": "stolen"}
    session = (await world.one.call("POST", "/account/password", request, status=401))["session"]
    path = f"/_matrix/client/v3/auth/{STAGE}/fallback/web?session={session}"
    mails = len(world.box.mails)

    async with world.one.client.post(path, data={"email": ADDRESS}) as response:
        assert response.status == 403

    assert len(world.box.mails) == mails


async def test_a_client_that_does_not_know_the_stage_opens_a_page(world: World) -> None:
    request: dict[str, Any] = {"username": "alice", "password": "sesame"}
    session = (await world.one.call("POST", "/register", request, status=401))["session"]
    path = f"/_matrix/client/v3/auth/{STAGE}/fallback/web?session={session}"

    async def post(**fields: str) -> str:
        async with world.one.client.post(path, data=fields) as response:
            return await response.text()

    async with world.one.client.get(path) as response:
        assert 'type="email"' in await response.text()
    waiting = await post(email="<alice>")
    assert "That is not an e-mail address" in waiting
    waiting = await post(email=ADDRESS)
    sid = waiting.partition('name="sid" value="')[2].partition('"')[0]
    early = await post(sid=sid, email=ADDRESS)
    assert "has not been confirmed" in early and sid in early
    await world.follow()
    assert "onAuthDone" in await post(sid=sid, email=ADDRESS)
    auth = {"type": "m.login.dummy", "session": session}
    made = await world.one.call("POST", "/register", {**request, "auth": auth})

    assert await world.addresses(made["access_token"]) == [CANONICAL]


async def test_a_link_from_the_page_counts_for_the_browser_that_has_asked(world: World) -> None:
    request: dict[str, Any] = {"username": "alice", "password": "sesame"}
    session = (await world.one.call("POST", "/register", request, status=401))["session"]
    path = f"/_matrix/client/v3/auth/{STAGE}/fallback/web?session={session}"

    async def post(**fields: str) -> str:
        async with world.one.client.post(path, data=fields) as response:
            return await response.text()

    waiting = await post(email=ADDRESS)
    sid = waiting.partition('name="sid" value="')[2].partition('"')[0]
    world.one.client.session.cookie_jar.clear()  # whoever reads the mail has another browser
    _, page = await world.follow()
    code = page.partition("<strong>")[2].partition("</strong>")[0]
    not_yet = await post(sid=sid, email=ADDRESS)
    wrong = await post(sid=sid, email=ADDRESS, link_code="x")
    done = await post(sid=sid, email=ADDRESS, link_code=code)

    assert "Enter this code" in page
    assert "has not been confirmed" in not_yet and sid in not_yet
    assert "not the code" in wrong and sid in wrong
    assert "onAuthDone" in done


async def test_the_older_spelling_adds_an_address_too(world: World) -> None:
    token = await world.one.register("alice")
    creds = await world.credentials("/account/3pid")
    auth = {"type": "m.login.password", "password": "sesame"}
    body = {"three_pid_creds": creds, "auth": auth}

    await world.one.call("POST", "/account/3pid", body, token=token)

    assert await world.addresses(token) == [CANONICAL]


async def test_what_no_identity_server_knows_stays_the_accounts(world: World) -> None:
    token = await world.one.register("alice")
    await world.add(token)
    body = {"medium": "email", "address": ADDRESS}

    answer = await world.one.call("POST", "/account/3pid/unbind", body, token=token)

    assert answer["id_server_unbind_result"] in ("success", "no-support")
    assert await world.addresses(token) == [CANONICAL]
