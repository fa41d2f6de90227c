"""Accounts and their sessions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from client_api.admin.api import AdminApi, AdminCall
from client_api.admin.lists import Flag, ListQuery, Text, page
from homeserver.app_keys import (
    ACCOUNT_STANDING,
    ACCOUNTS,
    DATABASE,
    DEVICES,
    SESSIONS,
)
from homeserver.errors import InvalidParam, NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services.conversations.shapes.base import Input
from homeserver.services.conversations.shapes.pages import (
    MOST_INTEGER,
    Page,
    make_cursor,
    parse_cursor,
)
from homeserver.storage import admin_users as storage
from homeserver.storage.admin_users import User, UserFigures, UserFilter
from homeserver.storage.devices import Device

api = AdminApi("Users", "Accounts of this server and their sessions.")

MOST_DEVICES = 1_000
Password = Annotated[str, Meta(min_length=1, max_length=512)]


class UserQuery(ListQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which accounts are wanted."""

    search: Annotated[Text, Meta(description="A part of the user ID or display name")] | None = None
    admin: Flag | None = None
    guest: Flag | None = None
    deactivated: Flag | None = None
    locked: Flag | None = None
    suspended: Flag | None = None
    order: Annotated[
        Literal["name", "newest"], Meta(description="By user ID, or the newest first")
    ] = "name"


class NewUser(Input, kw_only=True, frozen=True):
    """An account to make.  Without a password nobody can log in with one."""

    username: Annotated[str, Meta(min_length=1, max_length=255)]
    password: Password | None = None
    admin: bool = False


class NewPassword(Input, kw_only=True, frozen=True):
    """Another password; by default the user's devices are signed out."""

    password: Password
    sign_out: bool = True


class Deactivation(Input, kw_only=True, frozen=True):
    """How an account ends.  ``erase``: what they wrote and uploaded goes as well."""

    erase: bool = False


class Change(Input, kw_only=True, frozen=True):
    """What of an account changes; what is left out stays."""

    admin: bool | None = None
    locked: bool | None = None
    suspended: bool | None = None


class DeviceList(Input, kw_only=True, frozen=True):
    """Devices to sign out; ``all`` of them, or those named."""

    device_ids: Annotated[list[Text], Meta(max_length=MOST_DEVICES)] = msgspec.field(
        default_factory=list
    )
    all: bool = False


class UserDetails(msgspec.Struct, kw_only=True, frozen=True):
    """An account, looked at closely."""

    user: User
    figures: UserFigures
    emails: list[str]


class Devices(msgspec.Struct, kw_only=True, frozen=True):
    """The devices of a user."""

    devices: list[Device]


@api.get("/users")
async def list_users(call: AdminCall[None, UserQuery]) -> Page[User]:
    """Accounts, deactivated ones among them."""
    query, database = call.query, call.app[DATABASE]
    wanted = UserFilter(
        query.search, query.admin, query.guest, query.deactivated, query.locked, query.suspended
    )
    if query.order == "name":
        after = parse_cursor(query.cursor, str)[0] if query.cursor is not None else ""
        found = await storage.get_users_by_name(database, wanted, after=after, limit=query.limit)
        return page(found, query.limit, lambda user: make_cursor(user.user_id))
    before = (MOST_INTEGER, "")
    if query.cursor is not None:
        created_at, user_id = parse_cursor(query.cursor, int, str)
        before = (created_at, user_id)
    found = await storage.get_users_by_age(database, wanted, before=before, limit=query.limit)
    return page(found, query.limit, lambda user: make_cursor(user.created_at, user.user_id))


@api.post("/users", status=201)
async def create_user(call: AdminCall[NewUser]) -> User:
    """Make an account."""
    new = call.body
    user_id = await call.app[ACCOUNTS].create(new.username, new.password, new.admin)
    return await _user(call, user_id)


@api.get("/users/{user_id}")
async def get_user(call: AdminCall) -> UserDetails:
    """An account, deactivated or not."""
    user_id, database = call.user_id(), call.app[DATABASE]
    return UserDetails(
        user=await _user(call, user_id),
        figures=await storage.get_figures(database, user_id),
        emails=await storage.get_addresses(database, user_id),
    )


@api.put("/users/{user_id}")
async def change_user(call: AdminCall[Change]) -> User:
    """Make a user an admin, lock or suspend them; or the contrary.

    Admins cannot be locked or suspended, nor can you do that to yourself.
    """
    user_id, change = call.user_id(), call.body
    standing = call.app[ACCOUNT_STANDING]
    await standing.find(user_id)
    if change.admin is not None:
        if call.actor == user_id and not change.admin:
            raise InvalidParam("You cannot take that right from yourself")
        await call.app[ACCOUNTS].set_admin(user_id, change.admin)
    if change.locked is not None:
        await standing.set_locked(user_id, change.locked, by=call.actor)
    if change.suspended is not None:
        await standing.set_suspended(user_id, change.suspended, by=call.actor)
    return await _user(call, user_id)


@api.post("/users/{user_id}/deactivate")
async def deactivate_user(call: AdminCall[Deactivation]) -> User:
    """End an account for good: no login, no rooms; its name stays taken."""
    user_id = call.user_id()
    if call.actor == user_id:
        raise InvalidParam("You cannot end your own account here")
    await call.app[ACCOUNTS].deactivate(user_id, erase=call.body.erase)
    return await _user(call, user_id)


@api.post("/users/{user_id}/password")
async def reset_password(call: AdminCall[NewPassword]) -> None:
    """Give a user another password."""
    await call.app[ACCOUNTS].set_password(
        call.user_id(), call.body.password, keep_device=None, logout_devices=call.body.sign_out
    )


@api.get("/users/{user_id}/devices")
async def list_user_devices(call: AdminCall) -> Devices:
    """A user's devices, and when and from where they were last seen."""
    user_id = call.user_id()
    await call.app[ACCOUNTS].get(user_id)
    return Devices(devices=await call.app[DEVICES].list_devices(user_id))


@api.post("/users/{user_id}/sign_out")
async def sign_out_user(call: AdminCall[DeviceList]) -> Devices:
    """Sign devices of a user out: their tokens and keys are gone.  Answers those that are left."""
    user_id, wanted = call.user_id(), call.body
    if wanted.all == bool(wanted.device_ids):
        raise InvalidParam("Name 'device_ids', or say 'all'")
    await call.app[ACCOUNTS].get(user_id)
    devices = call.app[DEVICES]
    if wanted.all:
        await devices.remove_all(user_id)
        await call.app[SESSIONS].revoke(user_id, None)
    else:
        await devices.remove(user_id, wanted.device_ids)
    return Devices(devices=await devices.list_devices(user_id))


@api.get("/users/{user_id}/rooms")
async def list_user_rooms(call: AdminCall[None, ListQuery]) -> Page[str]:
    """The rooms that a user is in."""
    user_id, query = call.user_id(), call.query
    await call.app[ACCOUNTS].get(user_id)
    after = parse_cursor(query.cursor, str)[0] if query.cursor is not None else ""
    found = await storage.get_joined_rooms(
        call.app[DATABASE], user_id, after=after, limit=query.limit
    )
    return page(found, query.limit, make_cursor)


async def _user(call: AdminCall[Any, Any], user_id: UserId) -> User:
    user = await storage.get_user(call.app[DATABASE], user_id)
    if user is None:
        raise NotFound("There is no such account on this server")
    return user
