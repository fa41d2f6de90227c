"""Keys of devices, and messages from device to device, as the API's JSON.

All of it is the same as Matrix's end-to-end encryption has, under plainer names: an identity key is
a device key, a signed pre-key a fallback key, a one-time pre-key a one-time key.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from homeserver.services.conversations.shapes.base import Input, Shape, Sparse

MOST_PEOPLE = 100
MOST_PRE_KEYS = 500
MOST_MESSAGES = 1_000

KeyId = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00:]+$")]
KeyText = Annotated[str, Meta(min_length=1, max_length=16_384)]
Address = Annotated[str, Meta(min_length=3, max_length=255)]
DeviceId = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00]+$")]


class IdentityKey(Sparse, frozen=True, kw_only=True):
    """Who a device is.

    ``agreement_key``: Curve25519; ``signing_key``: Ed25519, with which the other keys are signed;
    both in base64 without padding.  ``signed_by_user``: by the person's cross-signing keys.
    """

    device_id: str
    agreement_key: str | None = None
    signing_key: str | None = None
    algorithms: list[str] = []
    signature: str | None = None
    other_keys: dict[str, str] = {}


class NewIdentityKey(Input, frozen=True, kw_only=True):
    """A device's identity key to be published.

    ``algorithms``: what the device speaks.  ``signature``: by the signing key, over what the page
    about keys says.
    """

    agreement_key: KeyText
    signing_key: KeyText
    algorithms: Annotated[list[str], Meta(max_length=20)] = field(
        default_factory=lambda: ["olm", "megolm"]
    )
    signature: KeyText | None = None


class PreKey(Input, frozen=True, kw_only=True):
    """A Curve25519 key with which somebody begins an encrypted session.

    ``signature``: by the device's signing key, over the canonical JSON ``{"key": "..."}``; of the
    signed pre-key over ``{"fallback": true, "key": "..."}``.
    """

    id: KeyId
    key: KeyText
    signature: KeyText | None = None


class PreKeyShown(Shape, frozen=True, kw_only=True):
    """A pre-key as somebody else published it."""

    id: str
    key: str
    signature: str | None = None


class KeysUpload(Input, frozen=True, kw_only=True):
    """Keys of the caller's device to be published; what is not named stays."""

    identity_key: NewIdentityKey | None = None
    signed_pre_key: PreKey | None = None
    one_time_pre_keys: Annotated[list[PreKey], Meta(max_length=MOST_PRE_KEYS)] = []


class OwnKeys(Shape, frozen=True, kw_only=True):
    """The keys of the caller's device.

    ``low_water``: with fewer one-time pre-keys than that, the update `keys.low` says so.
    ``signed_pre_key_used``: it was given out because no other was left: make a new one.
    """

    device_id: str
    identity_key: IdentityKey | None
    one_time_pre_keys: int
    low_water: int
    has_signed_pre_key: bool
    signed_pre_key_used: bool


class BundleRequest(Input, frozen=True, kw_only=True):
    """Whose keys are wanted.  ``device_ids``: only of these devices of one person."""

    people: Annotated[list[Address], Meta(min_length=1, max_length=MOST_PEOPLE)]
    device_ids: Annotated[list[DeviceId], Meta(max_length=100)] | None = None
    pre_keys: bool = True


class DeviceBundle(Shape, frozen=True, kw_only=True):
    """What it takes to begin an encrypted session with a device.

    Either pre-key may be missing: a one-time one where none is left, the signed one of a device
    elsewhere as long as a one-time one was to be had.
    """

    device_id: str
    name: str | None
    identity_key: IdentityKey
    one_time_pre_key: PreKeyShown | None = None
    signed_pre_key: PreKeyShown | None = None


class PersonBundles(Shape, frozen=True, kw_only=True):
    """A person's devices; none, where there are none, or where they may not be seen."""

    address: str
    devices: list[DeviceBundle]


class Unreachable(Shape, frozen=True, kw_only=True):
    """An instance that did not answer: its people are missing from the answer."""

    instance: str
    detail: str


class Bundles(Shape, frozen=True, kw_only=True):
    """The bundles that were asked for."""

    items: list[PersonBundles]
    failures: list[Unreachable]


# ---------------------------------------------------------------- messages between devices


class DeviceMessage(Input, frozen=True, kw_only=True):
    """What goes to one device of somebody's, or to all of them (``*``), untouched."""

    to: Address
    device_id: DeviceId = "*"
    content: dict[str, Any]


class NewDeviceMessages(Input, frozen=True, kw_only=True):
    """Messages to devices.  ``kind``: says to the receiver what they are; ``encrypted`` mostly."""

    kind: Annotated[str, Meta(min_length=1, max_length=255)] = "encrypted"
    messages: Annotated[list[DeviceMessage], Meta(min_length=1, max_length=MOST_MESSAGES)]


class DeviceMessageShown(Shape, frozen=True, kw_only=True):
    """A message to the caller's device."""

    position: int
    sender: str
    kind: str
    content: dict[str, Any]


class Acknowledgement(Input, frozen=True, kw_only=True):
    """Up to where the device has its messages: they are deleted here."""

    position: Annotated[int, Meta(ge=0, le=2**53)]
