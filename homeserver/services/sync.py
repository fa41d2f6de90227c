"""Syncing: what is new for a client since it last asked, at once or as soon as there is anything.

Spec: client-server API, ``GET /sync``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

import msgspec
import orjson
from msgspec import Struct, field

from homeserver.protocol.events import JsonObject
from homeserver.protocol.filters import EMPTY_FILTER, SyncFilter
from homeserver.protocol.stripped import without_strangers_choices
from homeserver.services.event_store import EventStore
from homeserver.services.invites_shown import is_from_stranger, stripped_of
from homeserver.services.notifier import Notifier, Waiter
from homeserver.services.recent_timeline import RecentTimeline
from homeserver.services.requester import Requester
from homeserver.services.sync_extras import SyncExtras
from homeserver.services.sync_room import Entry, Extras, SyncRooms
from homeserver.services.sync_rooms import RoomsOfUsers, UserRooms
from homeserver.services.sync_span import View
from homeserver.services.sync_token import SyncToken
from homeserver.services.visibility import InviteFilter, ReaderFilter, Withheld
from homeserver.storage import rooms as room_storage
from homeserver.storage import sync as storage
from homeserver.storage.database import Database
from homeserver.storage.rooms import MembershipRow

GONE = ("leave", "ban")
ROOMS_AT_ONCE = 32
MEMBERS_AT_ONCE = 20_000  # of rooms whose members are told of, all of them
NO_MESSAGES = orjson.Fragment(b'{"events":[]}')


class Progress(Protocol):
    """How far users have got."""

    def reached(self, user_id: str, position: int) -> None:
        """A device has everything up to a position."""


class SyncRequest(msgspec.Struct, frozen=True):
    """What a client asks for."""

    requester: Requester
    since: SyncToken | None = None
    filter: SyncFilter = EMPTY_FILTER
    timeout_ms: int = 0
    full_state: bool = False
    use_state_after: bool = False
    state_after_name: str = "state_after"
    set_presence: str = "online"
    is_gone: Callable[[], bool] = lambda: False  # whether nobody is there for the answer


class _Moves(Struct):
    """Where the user's membership changed since the token."""

    joined: dict[str, Entry] = field(default_factory=dict)
    left: list[tuple[MembershipRow, bool]] = field(default_factory=list)  # with: was it joined


class SyncService:
    """Answers syncs."""

    def __init__(
        self,
        *,
        database: Database,
        recent: RecentTimeline,
        notifier: Notifier,
        rooms_of_users: RoomsOfUsers,
        rooms: SyncRooms,
        extras: SyncExtras,
        store: EventStore,
        reader_filter: ReaderFilter,
        invites: InviteFilter,
        progress: Progress | None = None,
    ) -> None:
        self._database = database
        self._recent = recent
        self._notifier = notifier
        self._rooms_of_users = rooms_of_users
        self._rooms = rooms
        self._extras = extras
        self._store = store
        self._reader_filter = reader_filter
        self._invites = invites
        self._progress = progress

    async def sync(self, request: SyncRequest) -> bytes:
        """The answer, as JSON.

        An incremental sync waits for something new, up to the timeout; an initial one, and one
        for the full state, does not.
        """
        user_id, device_id = request.requester.user_id, request.requester.device_id
        if request.since is not None and request.since.position > self._recent.position:
            # A token from before a backup was restored: what it knew of is lost.
            request = msgspec.structs.replace(request, since=SyncToken(self._recent.position))
        if request.since is not None and self._progress is not None:
            self._progress.reached(user_id, request.since.position)
        if request.since is not None and device_id is not None:
            await self._extras.acknowledge((user_id, device_id), request.since)
        with (
            self._extras.presence.syncing(user_id, request.set_presence),
            self._notifier.waiter(user_id, device_id) as waiter,
        ):
            answer = await self._wait_for_news(request, waiter)
        self._notifier.answered(user_id, device_id)
        return orjson.dumps(answer, option=orjson.OPT_NON_STR_KEYS)

    async def _wait_for_news(self, request: SyncRequest, waiter: Waiter) -> JsonObject:
        loop = asyncio.get_running_loop()
        waits = request.since is not None and not request.full_state and request.timeout_ms > 0
        deadline = loop.time() + request.timeout_ms / 1000
        if waits:
            rest = self._notifier.rest_seconds(waiter.device)
            if rest > 0:
                await asyncio.sleep(min(rest, request.timeout_ms / 1000))
        if waits and self._has_everything(request.since):
            await waiter.wait(deadline - loop.time())
        while True:
            waiter.woken = False
            answer, is_news = await self._answer(request)
            left = deadline - loop.time()
            if is_news or not waits or left <= 0 or request.is_gone():
                return answer
            if not await waiter.wait(left) or request.is_gone():
                return answer

    def _has_everything(self, since: SyncToken | None) -> bool:
        """Whether nothing at all has happened after a token, for whomever."""
        return (
            since is not None
            and since.position == since.to_device == self._recent.position
            and since.typing >= self._extras.typing.version
            and since.presence >= self._extras.presence.version
        )

    # ------------------------------------------------------------ one answer

    async def _answer(self, request: SyncRequest) -> tuple[JsonObject, bool]:
        """The answer as of now, and whether it bears anything new."""
        requester, sync_filter, extras = request.requester, request.filter, self._extras
        user_id, device_id = requester.user_id, requester.device_id
        rooms = await self._rooms_of_users.get(user_id)
        upto = self._recent.position
        typing, presence = extras.typing.version, extras.presence.version
        since = request.since
        view = View(
            user_id=user_id,
            device=(user_id, device_id),
            since=since.position if since is not None else None,
            upto=upto,
            filter=sync_filter,
            withheld=await self._reader_filter.withheld(user_id),
            full_state=request.full_state,
            use_state_after=request.use_state_after,
            state_after_name=request.state_after_name,
        )
        if since is None:
            self._rooms.sent_members.forget(view.device)
        answer: JsonObject = {"next_batch": ""}
        account_data = await extras.account_data(user_id, view.since, upto)
        own = [
            event
            for event in account_data.pop("", ())
            if sync_filter.account_data.allows(None, event["type"])
        ]
        if own:
            answer["account_data"] = {"events": own}
        by_membership = await self._all_rooms(view, rooms, since, account_data)
        if by_membership:
            answer["rooms"] = by_membership
        online = await extras.presence_events(
            user_id, since.presence if since is not None else None, sync_filter
        )
        if online:
            answer["presence"] = {"events": online}
        if view.since is not None:
            lists = await extras.device_lists(user_id, rooms.joined, view.since, upto)
            if lists is not None:
                answer["device_lists"] = lists
        to_device = upto
        if device_id is not None:
            batch = await extras.to_device((user_id, device_id), since, upto)
            if batch is not None:
                to_device = batch.position
                # Passed on though nothing is left of it: what comes after it must not wait.
                answer["to_device"] = {"events": heard(batch.events, view.withheld)}
        is_news = len(answer) > 1
        answer.setdefault("to_device", NO_MESSAGES)
        answer["next_batch"] = str(SyncToken(upto, typing, presence, to_device))
        await self._add_key_counts(answer, user_id, device_id)
        return answer, is_news

    async def _add_key_counts(
        self, answer: JsonObject, user_id: str, device_id: str | None
    ) -> None:
        if device_id is not None:
            counts = await self._extras.key_counts((user_id, device_id))
            answer["device_one_time_keys_count"] = counts.one_time_keys
            answer["device_unused_fallback_key_types"] = counts.unused_fallback_algorithms

    # ------------------------------------------------------------ rooms

    async def _all_rooms(
        self,
        view: View,
        rooms: UserRooms,
        since: SyncToken | None,
        account_data: dict[str, list[JsonObject]],
    ) -> JsonObject:
        """The part ``rooms`` of the answer; empty if there is nothing new."""
        moves = await self._moves(view, rooms)
        joined = await self._joined(view, rooms, since, moves, account_data)
        allows = view.filter.allows_room
        parts: JsonObject = {}
        if joined:
            parts["join"] = joined
        invited = await self._invited(view, rooms)
        if invited:
            parts["invite"] = invited
        knocked = {
            room_id: {"knock_state": {"events": await stripped_of(self._store, row)}}
            for room_id, row in rooms.knocked.items()
            if self._is_news(view, row) and allows(room_id)
        }
        if knocked:
            parts["knock"] = knocked
        left = await self._left(view, moves, account_data) if moves.left else None
        if left:
            parts["leave"] = left
        return parts

    async def _left(
        self, view: View, moves: _Moves, account_data: dict[str, list[JsonObject]]
    ) -> JsonObject:
        """The rooms that the reader is not in any more."""

        async def part(row: MembershipRow, was_joined: bool) -> JsonObject:
            return await self._rooms.left(
                view,
                row,
                was_joined=was_joined,
                in_silence=not was_joined
                and await is_from_stranger(self._invites, view.withheld, view.user_id, row),
                account_data=self._room_account_data(
                    view, row.room_id, account_data.get(row.room_id, ())
                ),
            )

        gone = {
            row.room_id: (row, was_joined)
            for row, was_joined in moves.left
            if view.filter.allows_room(row.room_id)
        }
        parts: JsonObject = {}
        for batch in await self._batches(view, list(gone), gone):
            found = await asyncio.gather(*(part(*gone[room_id]) for room_id in batch))
            parts.update(zip(batch, found, strict=True))
        return parts

    async def _invited(self, view: View, rooms: UserRooms) -> JsonObject:
        """The new invites that the reader is shown."""
        if not rooms.invited:
            return {}
        since = None if view.full_state else view.since
        shown = await self._invites.shown_invites(view.user_id, rooms.invited, since)
        parts: JsonObject = {}
        for room_id, (row, from_stranger) in shown.items():
            if view.filter.allows_room(room_id):
                events = await stripped_of(self._store, row)
                if from_stranger:
                    events = without_strangers_choices(events)
                parts[room_id] = {"invite_state": {"events": events}}
        return parts

    def _is_news(self, view: View, row: MembershipRow) -> bool:
        return view.since is None or view.full_state or row.position > view.since

    async def _moves(self, view: View, rooms: UserRooms) -> _Moves:
        """Which rooms the user came into or went from."""
        moves = _Moves()
        since = view.since
        if since is None:
            moves.joined.update(dict.fromkeys(rooms.joined, Entry.NEW))
            if view.filter.include_leave:
                gone = await room_storage.get_user_rooms(self._database, view.user_id, GONE)
                moves.left.extend((row, False) for row in gone if not row.forgotten)
            return moves
        if not self._recent.memberships.changed(view.user_id, since):
            return moves
        changes = await room_storage.get_membership_changes(
            self._database, view.user_id, since, view.upto
        )
        moved = {change.room_id for change in changes}
        before = await storage.get_memberships_at(self._database, view.user_id, moved, since)
        away = {change.room_id for change in changes if change.membership != "join"}
        outside = [room_id for room_id in moved if room_id not in rooms.joined]
        now = (
            await room_storage.get_memberships_in(self._database, view.user_id, outside)
            if outside
            else {}
        )
        for room_id in moved:
            known = room_id in before and before[room_id].membership == "join"
            if room_id in rooms.joined:
                if not known:
                    moves.joined[room_id] = Entry.NEW
                elif room_id in away:
                    moves.joined[room_id] = Entry.BACK
                continue
            row = now.get(room_id)
            # Even one that is forgotten: other devices of the user still have it.
            if row is not None and row.membership in GONE and (known or not row.forgotten):
                moves.left.append((row, known))
        return moves

    async def _joined(
        self,
        view: View,
        rooms: UserRooms,
        since: SyncToken | None,
        moves: _Moves,
        account_data: dict[str, list[JsonObject]],
    ) -> JsonObject:
        """The joined rooms that have something new."""
        allows, joined, extras = view.filter.allows_room, rooms.joined, self._extras
        new = {room_id for room_id in moves.joined if allows(room_id)}
        if view.since is not None and new:
            account_data.update(await extras.room_account_data(view.user_id, new))
        receipts = await extras.receipts(
            view.user_id, joined, (), view.since, view.upto, view.filter
        )
        typing = await extras.typing_events(
            view.user_id, joined, new, since.typing if since is not None else None, view.filter
        )
        ended = await extras.erasures(joined, view.since, view.upto, view.filter)
        counted: Collection[str] = ()
        if view.since is not None:
            counted = await extras.own_receipt_rooms(view.user_id, joined, view.since)
        wanted = dict.fromkeys(new)
        wanted.update(dict.fromkeys(await self._changed_rooms(view, joined)))
        for more in (receipts, typing, ended, account_data, counted):
            if more:
                wanted.update(dict.fromkeys(room_id for room_id in more if room_id in joined))
        parts: JsonObject = {}
        listed = [room_id for room_id in wanted if allows(room_id)]

        async def part(room_id: str) -> JsonObject | None:
            return await self._rooms.joined(
                view,
                room_id,
                Extras(
                    _allowed(
                        view,
                        room_id,
                        (typing.get(room_id), receipts.get(room_id), ended.get(room_id)),
                    ),
                    self._room_account_data(view, room_id, account_data.get(room_id, ())),
                    room_id in counted,
                ),
                moves.joined.get(room_id, Entry.STAYED),
            )

        for batch in await self._batches(view, listed, moves.joined):
            entered = new.intersection(batch)
            if entered:
                receipts.update(
                    await extras.receipts(
                        view.user_id, joined, entered, None, view.upto, view.filter
                    )
                )
            if len(batch) == 1:
                made = await part(batch[0])
                if made is not None:
                    parts[batch[0]] = made
                continue
            # What they all read of the database, they read together.
            found = await asyncio.gather(*(part(room_id) for room_id in batch))
            for room_id, made in zip(batch, found, strict=True):
                if made is not None:  # as bytes at once: all of them in the end would take long
                    parts[room_id] = orjson.Fragment(
                        orjson.dumps(made, option=orjson.OPT_NON_STR_KEYS)
                    )
        return parts

    async def _batches(
        self, view: View, room_ids: Sequence[str], entered: Collection[str]
    ) -> list[Sequence[str]]:
        """Rooms whose parts are made at the same time: so many that what they read together is
        worth a query, and so few that what they hold in memory is bounded."""
        if len(room_ids) <= 1:
            return [room_ids] if room_ids else []
        batches: list[Sequence[str]] = []
        for start in range(0, len(room_ids), ROOMS_AT_ONCE):
            batch = room_ids[start : start + ROOMS_AT_ONCE]
            whole = [room_id for room_id in batch if view.full_state or room_id in entered]
            if not whole or view.filter.lazy_load_members:
                batches.append(batch)
                continue
            sizes = await self._rooms.sizes(whole)
            light: list[str] = []
            members = 0
            for room_id in batch:
                size = sizes.get(room_id, 0)
                if light and members + size > MEMBERS_AT_ONCE:
                    batches.append(light)
                    light, members = [], 0
                light.append(room_id)
                members += size
            batches.append(light)
        return batches

    async def _changed_rooms(self, view: View, joined: Collection[str]) -> Iterable[str]:
        """The joined rooms that may have new events."""
        if view.since is None:
            return ()
        if view.full_state:
            return joined
        changed = self._recent.rooms.since(view.since)
        if changed is None:
            return await storage.get_changed_rooms(
                self._database, view.user_id, view.since, view.upto
            )
        if len(changed) <= len(joined):
            return [room_id for room_id in changed if room_id in joined]
        since, has_changed = view.since, self._recent.rooms.changed
        return [room_id for room_id in joined if has_changed(room_id, since)]

    def _room_account_data(
        self, view: View, room_id: str, events: Sequence[JsonObject]
    ) -> Sequence[JsonObject]:
        wanted = view.filter.room_account_data
        if not events or not wanted.allows_room(room_id):
            return ()
        return [event for event in events if wanted.allows(None, event["type"])]


def heard(messages: Sequence[JsonObject], withheld: Withheld) -> list[JsonObject]:
    """Messages to a device without those of senders who are not heard.

    Spec: ignoring users ("the client will no longer receive events sent by that user").  What is
    encrypted carries room keys, without which the reader could not read the rooms that both are in
    after a change of mind; it shows nothing by itself, and stays.
    """
    return [
        message
        for message in messages
        if message["type"] == "m.room.encrypted" or not withheld.is_unheard(message["sender"])
    ]


def _allowed(view: View, room_id: str, events: Iterable[JsonObject | None]) -> Sequence[JsonObject]:
    """The ephemeral events of a room that there are, if the filter lets any through."""
    found = [event for event in events if event is not None]
    return found if found and view.filter.ephemeral.allows_room(room_id) else ()
