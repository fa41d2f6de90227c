"""Signing in and out, devices and accounts, as the API's JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from homeserver.services.conversations.shapes.base import Input, Shape, Sparse
from homeserver.services.conversations.shapes.people import Person

Secret = Annotated[str, Meta(min_length=1, max_length=16_384)]
Password = Annotated[str, Meta(max_length=4_096)]
UserName = Annotated[str, Meta(min_length=1, max_length=255)]
DeviceId = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00]+$")]
DeviceName = Annotated[str, Meta(max_length=255, pattern=r"^[^\x00]*$")]


class NewSession(Input, frozen=True, kw_only=True):
    """How somebody signs in: ``user`` and ``password``, or ``jwt``, or ``login_token``.

    ``user`` is an address, or the part of it before the ``@``.  ``device_id`` signs a device in
    again.  A ``refreshable`` session's access token is good for minutes.
    """

    user: UserName | None = None
    password: Password | None = None
    jwt: Secret | None = None
    login_token: Secret | None = None
    device_id: DeviceId | None = None
    device_name: DeviceName | None = None
    refreshable: bool = False


class NewAccount(Input, frozen=True, kw_only=True):
    """An account to be.  ``code``: an invitation, or a registration token.

    ``accept_terms``: name and version of each document that the newcomer has read.
    """

    user_name: UserName
    password: Password
    name: str | None = None
    code: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    accept_terms: dict[str, str] = {}
    device_name: DeviceName | None = None
    refreshable: bool = False


class Session(Sparse, frozen=True, kw_only=True):
    """Somebody who is signed in.  The tokens are shown this once."""

    person: Person
    device_id: str
    access_token: str
    refresh_token: str | None = None
    expires_in_ms: int | None = None


class Refresh(Input, frozen=True, kw_only=True):
    """A refresh token to be changed for new tokens."""

    refresh_token: Secret


class Tokens(Sparse, frozen=True, kw_only=True):
    """New tokens; the old ones are good until the new access token is first used."""

    access_token: str
    refresh_token: str | None = None
    expires_in_ms: int | None = None


class Device(Shape, frozen=True, kw_only=True):
    """A device on which somebody is signed in."""

    id: str
    name: str | None = None
    last_seen_at: str | None = None
    last_seen_ip: str | None = None
    current: bool = False


class CurrentSession(Shape, frozen=True, kw_only=True):
    """Whose access token it is, and of which device.

    ``fresh_until``: until then what needs a proof needs none, for the user has just signed in.
    """

    person: Person
    device: Device | None = None
    application_id: str | None = None
    is_admin: bool = False
    fresh_until: str | None = None


class DeviceChange(Input, frozen=True, kw_only=True):
    """What to call a device."""

    name: DeviceName


class Proof(Input, frozen=True, kw_only=True):
    """That it is really the user: their password, or another way by which they sign in.

    Not needed within ten minutes after signing in.
    """

    password: Password | None = None
    jwt: Secret | None = None
    login_token: Secret | None = None


class SignOutOthers(Proof, frozen=True, kw_only=True):
    """Which devices to sign out; null: all but the caller's."""

    device_ids: Annotated[list[DeviceId], Meta(min_length=1, max_length=500)] | None = None


class NewPassword(Proof, frozen=True, kw_only=True):
    """A password to be set."""

    new_password: Password
    sign_out_others: bool = True


class Deletion(Proof, frozen=True, kw_only=True):
    """The end of an account.

    ``erase``: what the user wrote and uploaded goes too, as far as nobody else has a claim to it.
    """

    erase: bool = False


class SignedOut(Shape, frozen=True, kw_only=True):
    """How many devices were signed out."""

    signed_out: int


class Provider(Shape, frozen=True, kw_only=True):
    """Somebody else who says who people are.  ``url``: where to send the browser."""

    id: str
    name: str
    url: str


class Document(Shape, frozen=True, kw_only=True):
    """A document that newcomers accept; ``languages``: the address of its text in each."""

    name: str
    version: str
    languages: dict[str, str]


class Ways(Shape, frozen=True, kw_only=True):
    """The ways to sign in, and to become somebody who can.

    ``registration``: who may make an account: nobody, who has a code, or everybody.
    """

    password: bool
    jwt: bool
    providers: list[Provider]
    registration: Literal["closed", "code", "open"]
    terms: list[Document]


class Availability(Shape, frozen=True, kw_only=True):
    """Whether an account of that name could be made; its address."""

    available: bool
    address: str | None = None
    reason: str | None = None


class UserNameQuery(Input, frozen=True, kw_only=True):
    """A name to be looked up."""

    user_name: UserName
