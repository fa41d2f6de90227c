"""Sliding sync: what is new in the rooms that a client looks at, at once or as soon as there is.

Spec: MSC4186, ``POST /sync``.
"""

from __future__ import annotations

import asyncio

import orjson
from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.services.notifier import Notifier, Waiter
from homeserver.services.recent_timeline import RecentTimeline
from homeserver.services.sliding.connection import Connection, Moment, State, Step
from homeserver.services.sliding.connections import Connections, UnknownPos
from homeserver.services.sliding.extensions import Around, Extensions, Scope
from homeserver.services.sliding.lists import window
from homeserver.services.sliding.request import SlidingRequest
from homeserver.services.sliding.room_news import Look, RoomNewsFinder
from homeserver.services.sliding.rooms import Asker, SlidingRoomParts
from homeserver.services.sliding.rules import Rule, Rules
from homeserver.services.sliding.user_rooms import ShownRooms, SlidingRooms
from homeserver.services.sync import Progress
from homeserver.services.sync_extras import SyncExtras
from homeserver.services.sync_rooms import RoomsOfUsers
from homeserver.services.visibility import InviteFilter, ReaderFilter


class _Answer(Struct):
    """An answer, what the client knows once it has it, and whether anything is new."""

    body: JsonObject
    step: Step
    is_news: bool


class SlidingSync:
    """Answers sliding syncs."""

    def __init__(
        self,
        *,
        connections: Connections,
        recent: RecentTimeline,
        notifier: Notifier,
        rooms_of_users: RoomsOfUsers,
        rooms: SlidingRooms,
        parts: SlidingRoomParts,
        finder: RoomNewsFinder,
        extensions: Extensions,
        extras: SyncExtras,
        reader_filter: ReaderFilter,
        invites: InviteFilter,
        progress: Progress | None = None,
    ) -> None:
        self.connections = connections
        self._recent = recent
        self._notifier = notifier
        self._rooms_of_users = rooms_of_users
        self._rooms = rooms
        self._parts = parts
        self._finder = finder
        self._extensions = extensions
        self._extras = extras
        self._reader_filter = reader_filter
        self._invites = invites
        self._progress = progress
        self._waiters: dict[int, Waiter] = {}

    async def sync(self, request: SlidingRequest) -> bytes:
        """The answer, as JSON.  Raises :class:`UnknownPos`, :class:`InvalidParam`."""
        user_id, device_id = request.requester.user_id, request.requester.device_id
        await self._extensions.acknowledge(request)
        key = (user_id, device_id or "", request.conn_id)
        connection = await self.connections.resume(key, request.pos)
        if connection.state.moment.position > self._recent.position:
            raise UnknownPos  # of before a backup was restored: what it knew of is lost
        if connection.is_behind:
            self._parts.begin(user_id, _name(request), connection.acknowledged)
        connection.turn += 1
        turn = connection.turn
        earlier = self._waiters.get(id(connection))
        if earlier is not None:
            earlier.finish()  # its client has given up on it
        with (
            self.connections.using(key, connection),
            self._extras.presence.syncing(user_id, request.set_presence),
            self._notifier.waiter(user_id, device_id) as waiter,
        ):
            self._waiters[id(connection)] = waiter
            try:
                answer = await self._wait_for_news(request, connection, turn, waiter)
            finally:
                if self._waiters.get(id(connection)) is waiter:
                    del self._waiters[id(connection)]
        self._notifier.answered(user_id, device_id)
        body = answer.body
        if connection.turn == turn:
            body["pos"] = connection.answer(answer.step)
            members = answer.step.members
            self._parts.note_sent(user_id, _name(request), members, connection.number)
        else:  # nobody reads this: another request of the connection has come meanwhile
            body = {"pos": request.pos or "superseded", "lists": {}, "rooms": {}, "extensions": {}}
        return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)

    async def _wait_for_news(
        self, request: SlidingRequest, connection: Connection, turn: int, waiter: Waiter
    ) -> _Answer:
        loop = asyncio.get_running_loop()
        waits = request.pos is not None and request.timeout_ms > 0
        deadline = loop.time() + request.timeout_ms / 1000
        if waits:
            rest = self._notifier.rest_seconds(waiter.device)
            if rest > 0:
                await asyncio.sleep(min(rest, request.timeout_ms / 1000))
        while True:
            waiter.woken = False
            answer = await self._answer(request, connection)
            left = deadline - loop.time()
            if answer.is_news or not waits or left <= 0 or connection.turn != turn:
                return answer
            if request.is_gone():
                return answer
            if not await waiter.wait(left) or connection.turn != turn or request.is_gone():
                return answer

    # ------------------------------------------------------------ one answer

    async def _answer(self, request: SlidingRequest, connection: Connection) -> _Answer:
        """The answer as of now."""
        user_id, state = request.requester.user_id, connection.state
        user_rooms = await self._rooms_of_users.get(user_id)
        upto = self._recent.position
        typing = self._extras.typing.version
        position = state.moment.position if request.pos is not None else None
        invites = (
            await self._invites.shown_invites(user_id, user_rooms.invited, None)
            if user_rooms.invited
            else {}
        )
        shown = await self._rooms.get(
            user_id,
            user_rooms,
            invites,
            state=state,
            subscribed=request.subscriptions.keys(),
            upto=upto,
        )
        rules = await self._rules(request, shown)
        asker = Asker(
            user_id,
            request.requester.device_id,
            _name(request),
            connection.acknowledged,
            position,
            upto,
            await self._reader_filter.withheld(user_id),
            request.legacy,
        )
        self._note_progress(asker, state, shown)
        step = Step(Moment(upto, typing, state.moment.threads, key_counts=state.moment.key_counts))
        news = await self._finder.find(Look(asker, state, shown, rules), step)
        around = Around(
            user_id,
            asker.device_id,
            position,
            upto,
            asker.withheld,
            state,
            _scope(rules, shown),
            news,
        )
        told = await self._extensions.answer(request, around, step)
        body: JsonObject = {
            "pos": "",
            "lists": {rule.name: {"count": rule.count} for rule in rules.rules if rule.name},
            "rooms": news.rooms,
            "extensions": told.sections,
        }
        return _Answer(body, step, bool(news.rooms) or told.is_news)

    async def _rules(self, request: SlidingRequest, shown: ShownRooms) -> Rules:
        rules: list[Rule] = []
        user_id = request.requester.user_id
        for name, wanted in request.lists.items():
            matching = await self._rooms.matching(user_id, shown, wanted.filter)
            found = window(shown.order, matching, wanted.ranges)
            rules.append(Rule(name, wanted.config, found.rooms, found.count))
        for room_id, config in request.subscriptions.items():
            if shown.membership(room_id) is not None:
                rules.append(Rule("", config, frozenset((room_id,))))
        return Rules(rules)

    def _note_progress(self, asker: Asker, state: State, shown: ShownRooms) -> None:
        """A device that was told of all its user's rooms has everything up to its position."""
        if self._progress is None or asker.position is None or state.behind:
            return
        if state.was_told_all(shown.rooms.joined):
            self._progress.reached(asker.user_id, asker.position)


def _scope(rules: Rules, shown: ShownRooms) -> Scope:
    return Scope(
        {rule.name: rule.rooms for rule in rules.rules if rule.name},
        frozenset().union(*(rule.rooms for rule in rules.rules if not rule.name)),
        shown.rooms.joined,
    )


def _name(request: SlidingRequest) -> str:
    """What a connection is called among the user's."""
    return f"{request.requester.device_id or ''}\0{request.conn_id}"
