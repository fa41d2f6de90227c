"""Lazy-loaded members: which member events each device has been sent.

A member event counts as sent only once the device comes back with the token of the answer that
bore it, or a later one: an answer that was lost on the way is not relied upon.

Spec: client-server API, lazy-loading room members.
"""

from __future__ import annotations

from collections import OrderedDict

CACHED_DEVICES = 10_000
MEMBERS_PER_DEVICE = 5_000

Device = tuple[str, str | None]


class SentMembers:
    """Remembers, for each device, the member events it was sent."""

    def __init__(self) -> None:
        self._devices: OrderedDict[Device, dict[tuple[str, str], tuple[str, int]]] = OrderedDict()

    def has(self, device: Device, room_id: str, user_id: str, event_id: str, since: int) -> bool:
        """Whether the device, which has synced up to ``since``, has a member event."""
        sent = self._devices.get(device)
        known = sent.get((room_id, user_id)) if sent is not None else None
        return known is not None and known[0] == event_id and known[1] <= since

    def knows(self, device: Device, room_id: str, user_id: str, since: int) -> bool:
        """Whether the device has a member event of that user, whichever."""
        sent = self._devices.get(device)
        known = sent.get((room_id, user_id)) if sent is not None else None
        return known is not None and known[1] <= since

    def note(self, device: Device, room_id: str, user_id: str, event_id: str, upto: int) -> None:
        """The answer whose token is ``upto`` bears a member event."""
        sent = self._devices.get(device)
        if sent is None:
            sent = self._devices[device] = {}
            if len(self._devices) > CACHED_DEVICES:
                self._devices.popitem(last=False)
        else:
            self._devices.move_to_end(device)
        if len(sent) >= MEMBERS_PER_DEVICE:
            sent.clear()
        sent[(room_id, user_id)] = (event_id, upto)

    def forget_after(self, device: Device, since: int) -> None:
        """The device does not have the answers after ``since``."""
        sent = self._devices.get(device)
        if sent:
            for key in [key for key, (_, upto) in sent.items() if upto > since]:
                del sent[key]

    def forget(self, device: Device) -> None:
        """The device begins anew: it has nothing."""
        self._devices.pop(device, None)
