"""What a reader is shown of invites and knocks, and of who took them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from homeserver.protocol.events import JsonObject, stripped_state
from homeserver.services.event_store import EventStore
from homeserver.services.visibility import InviteFilter, Withheld
from homeserver.storage.rooms import MembershipRow


async def stripped_of(store: EventStore, row: MembershipRow) -> Sequence[JsonObject]:
    """The stripped state of an invite or knock; at least the member event itself."""
    if row.stripped_state:
        return row.stripped_state
    stored = await store.get(row.event_id)
    return [stripped_state(stored.event)] if stored is not None else []


async def plainly_shown(
    invites: InviteFilter, user_id: str, rows: Mapping[str, MembershipRow]
) -> set[str]:
    """The rooms whose invites a reader is shown with all they say: none of them is a stranger's
    request that waits to be answered."""
    shown = await invites.shown_invites(user_id, rows, None)
    return {room_id for room_id, (_, from_stranger) in shown.items() if not from_stranger}


async def is_from_stranger(
    invites: InviteFilter, withheld: Withheld, user_id: str, row: MembershipRow
) -> bool:
    """Whether somebody removed a reader who is not shown their invites, or not all they say."""
    if row.sender == user_id:
        return False
    if withheld.is_unheard(row.sender):
        return True
    return not await plainly_shown(invites, user_id, {row.room_id: row})
