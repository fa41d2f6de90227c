"""Accounts and passwords, as the command line and other services use them."""

import pytest

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services.accounts import AccountService, UserInUse
from homeserver.services.devices import DeviceService
from homeserver.services.passwords import Passwords, WeakPassword
from homeserver.services.sessions import Origin, SessionService
from homeserver.services.usernames import InvalidUsername, parse_user

ALICE = UserId("@alice:one.example")


class Elsewhere:
    """Rooms and device lists, which have nothing to do here."""

    async def leave_all(self, user_id):
        pass

    async def ended(self, user_id):
        pass

    async def changed(self, user_id, device_id):
        pass

    async def deleted(self, user_id, device_ids):
        pass


@pytest.fixture
def passwords():
    subject = Passwords(memory_kib=8, passes=1)
    yield subject
    subject.close()


@pytest.fixture
def sessions(database):
    return SessionService(database=database, clock_ms=lambda: 1_000)


@pytest.fixture
def accounts(database, passwords, sessions):
    return AccountService(
        server_name="one.example",
        database=database,
        passwords=passwords,
        sessions=sessions,
        devices=DeviceService(database=database, sessions=sessions, device_lists=Elsewhere()),
        rooms=Elsewhere(),
        belongings=Elsewhere(),
        clock_ms=lambda: 1_000,
    )


async def test_accounts_are_made_listed_and_deactivated(accounts: AccountService):
    assert await accounts.create("bob", "sesame") == "@bob:one.example"
    assert await accounts.create("alice@one.example", "sesame", True) == ALICE
    listed = await accounts.list_accounts()
    assert [(a.user_id, a.admin, a.created_at) for a in listed] == [
        (ALICE, True, 1_000),
        ("@bob:one.example", False, 1_000),
    ]

    await accounts.deactivate(ALICE)

    assert [a.user_id for a in await accounts.list_accounts()] == ["@bob:one.example"]
    assert len(await accounts.list_accounts(deactivated=True)) == 2
    assert not await accounts.exists(ALICE)
    with pytest.raises(UserInUse):
        await accounts.create("alice", "sesame")


async def test_an_admin_is_known_as_one_at_once(accounts: AccountService, sessions):
    await accounts.create("alice", "sesame")
    tokens = await sessions.log_in(ALICE)
    assert not (await sessions.authenticate(tokens.access_token, Origin)).admin

    await accounts.set_admin(ALICE, True)

    assert (await sessions.authenticate(tokens.access_token, Origin)).admin


async def test_what_names_no_account(accounts: AccountService):
    for call in (
        accounts.get(ALICE),
        accounts.set_admin(ALICE, True),
        accounts.deactivate(ALICE),
        accounts.set_password(ALICE, "x", keep_device=None, logout_devices=False),
    ):
        with pytest.raises(NotFound):
            await call
    with pytest.raises(InvalidUsername):
        await accounts.create("alice@two.example", "sesame")


async def test_a_password_hashed_with_other_parameters_is_hashed_anew(
    accounts: AccountService, database
):
    older = Passwords(memory_kib=16, passes=1)
    await accounts.create("alice", "sesame")
    await database.execute("UPDATE accounts SET password_hash = $1", await older.hash("sesame"))
    older.close()

    await accounts.check_password(ALICE, "sesame")

    account = await accounts.get(ALICE)
    assert "m=8," in (account.password_hash or "")
    await accounts.check_password(ALICE, "sesame")


async def test_without_a_password_nobody_logs_in_with_one(accounts: AccountService):
    await accounts.create("alice", None)

    for password in ("", "sesame", "x" * 5000):
        with pytest.raises(Forbidden):
            await accounts.check_password(ALICE, password)


@pytest.mark.parametrize("password", ["", "x" * 1025])
async def test_weak_passwords(passwords: Passwords, password: str):
    with pytest.raises(WeakPassword):
        await passwords.hash(password)


@pytest.mark.parametrize(
    ("text", "user_id"),
    [
        ("alice", "@alice:one.example"),
        ("ALICE", "@alice:one.example"),
        ("@Alice:one.example", "@alice:one.example"),
        ("alice@one.example", "@alice:one.example"),
        ("@Bob:two.example", "@Bob:two.example"),
        ("bob@two.example", "@bob:two.example"),
        ("", None),
        ("a\0", None),
        ("alice:one.example", None),
        ("a@b@", None),
    ],
)
def test_what_people_type(text: str, user_id: str | None):
    assert parse_user(text, "one.example") == user_id


# ---------------------------------------------------------------- sessions


async def test_a_token_revoked_while_it_is_looked_up_is_not_remembered(database, sessions):
    """The look-up that began before does not bring the session back."""
    await database.execute("INSERT INTO accounts (user_id, created_at) VALUES ($1, 1)", ALICE)
    tokens = await sessions.log_in(ALICE)
    real = sessions._database

    class Slow:
        async def fetchrow(self, *args):
            row = await real.fetchrow(*args)
            await sessions.revoke(ALICE, None)
            return row

        def transaction(self):
            return real.transaction()

    sessions._database = Slow()
    await sessions.authenticate(tokens.access_token, Origin)
    sessions._database = real

    with pytest.raises(Exception, match="not known here"):
        await sessions.authenticate(tokens.access_token, Origin)


async def test_a_password_costs_as_much_to_guess_as_owasp_asks_for():
    passwords = Passwords()

    hashed = await passwords.hash("sesame")
    passwords.close()

    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
