"""Walking a space: its rooms, the rooms of the spaces among them, and so on.

The walk goes depth first, in the order of the children; it ends at each of its bounds, and a room
is entered once, so that loops end.  Where a page ends, what is left is kept under the page's
token, for ten minutes.

Spec: client-server API, discovering rooms within spaces; server-server API, spaces.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import orjson
from msgspec import Struct, field
from msgspec.structs import replace

from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.spaces.local import LocalRooms, with_children
from homeserver.services.spaces.summary import (
    RESTRICTED,
    SPACE,
    Child,
    RemoteSpace,
    is_open,
)
from homeserver.storage import rooms as storage
from homeserver.storage.database import Database

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 100
DEEPEST = 20
MOST_ROOMS = 10_000  # of one walk, all pages together
MOST_SUMMARIES = 200  # of children, in an answer to another instance
MOST_CHILD_BYTES = 2 * 1024 * 1024  # of children's events, in such an answer
AHEAD = 8  # rooms of other instances that are asked for at a time
PAGE_SECONDS = 20.0
KEPT_SECONDS = 600.0
KEPT_WALKS = 1_000
KEPT_STEPS = 200_000  # of all walks that are kept: what bounds the memory


class RemoteSpaces(Protocol):
    """What other instances tell of rooms that we are not in."""

    async def space(self, room_id: str, servers: Sequence[str]) -> RemoteSpace | None:
        """A room and its children; None if nobody tells.  Answers are kept for some minutes."""


class HierarchyQuery(Struct, frozen=True):
    """What part of a space is wanted."""

    suggested_only: bool = False
    limit: int = DEFAULT_LIMIT
    max_depth: int = DEEPEST


class _Step(Struct, frozen=True):
    """A room that the walk has before it."""

    room_id: str
    depth: int
    via: tuple[str, ...] = ()
    known: JsonObject | None = None  # what the instance that named it says of it
    hidden: bool = False  # that instance says that nobody of ours may see it


class _Walk(Struct):
    """Where a walk stands.  ``left`` has the next room last.

    ``hidden``: rooms that one instance hides, and that we do not show either; another one may.
    """

    user_id: str
    room_id: str
    query: HierarchyQuery
    left: list[_Step]
    entered: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)

    @property
    def looked_at(self) -> int:
        """How many rooms it has had before it."""
        return len(self.entered) + len(self.hidden)

    @property
    def size(self) -> int:
        """How much memory it takes."""
        return len(self.left) + self.looked_at

    def enters(self, step: _Step) -> bool:
        """Whether a room is to be looked at, which is noted: not where that was done before."""
        if step.room_id in self.entered or (step.hidden and step.room_id in self.hidden):
            return False
        (self.hidden if step.hidden else self.entered).add(step.room_id)
        return True

    def copy(self) -> _Walk:
        """The same place, to go on from: a page may be asked for twice."""
        return replace(
            self, left=list(self.left), entered=set(self.entered), hidden=set(self.hidden)
        )


class _Found(Struct, frozen=True):
    """A room that the reader may see, and its children."""

    summary: JsonObject
    children: Sequence[Child] = ()
    summaries: Mapping[str, JsonObject] = field(default_factory=dict)
    inaccessible: frozenset[str] = frozenset()


class Hierarchies:
    """Answers what is in a space, to people and to other instances."""

    def __init__(
        self,
        *,
        database: Database,
        local: LocalRooms,
        remote: RemoteSpaces,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._local = local
        self._remote = remote
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, _Walk]] = OrderedDict()
        self._kept_steps = 0

    # ------------------------------------------------------------ for people

    async def page(
        self, user_id: str, room_id: str, query: HierarchyQuery, token: str | None
    ) -> JsonObject:
        """A page of a space's rooms.  Spec: ``GET /rooms/{roomId}/hierarchy``.

        Raises: :class:`Forbidden` where the user may not see the space, :class:`InvalidParam` for
        a token that is none, or of another request.
        """
        if token is None:
            walk = _Walk(user_id, room_id, query, [await self._first(user_id, room_id)])
        else:
            walk = self._resume(token, user_id, room_id, query)
        rooms = await self._walk(walk, user_id, query.limit)
        if token is None and not rooms:
            raise Forbidden("You are not allowed to view this room")
        answer: JsonObject = {"rooms": rooms}
        if walk.left and walk.looked_at < MOST_ROOMS:
            answer["next_batch"] = self._keep(walk)
        return answer

    async def _first(self, user_id: str, room_id: str) -> _Step:
        """The space itself, and whom to ask for it if we are not in it."""
        servers = [server_name_of(room_id)] if ":" in room_id else []
        row = await storage.get_membership(self._database, room_id, user_id)
        if row is not None and await self._local.shows_invite(user_id, row):
            servers.insert(0, server_name_of(row.sender))
        return _Step(room_id, 0, tuple(dict.fromkeys(servers)))

    def _resume(self, token: str, user_id: str, room_id: str, query: HierarchyQuery) -> _Walk:
        until, walk = self._kept.get(token, (0.0, None))
        if walk is None or until <= self._clock() or walk.user_id != user_id:
            raise InvalidParam("'from' is unknown or has expired: begin at the first page")
        before = walk.query
        if walk.room_id != room_id:
            raise InvalidParam("'from' is of another space")
        if (query.suggested_only, query.max_depth) != (before.suggested_only, before.max_depth):
            raise InvalidParam("suggested_only and max_depth cannot change on paginated requests")
        return walk.copy()

    def _keep(self, walk: _Walk) -> str:
        token = secrets.token_urlsafe(18)
        self._kept[token] = (self._clock() + KEPT_SECONDS, walk)
        self._kept_steps += walk.size
        while len(self._kept) > KEPT_WALKS or self._kept_steps > KEPT_STEPS:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._kept_steps -= oldest.size
        return token

    async def _walk(self, walk: _Walk, user_id: str, limit: int) -> list[JsonObject]:
        """Go on until the page is full, time is up, or nothing is left."""
        rows = await storage.get_user_rooms(self._database, user_id, ("invite", "ban"))
        shown = await self._local.shown_invites(user_id, rows)
        memberships = {
            row.room_id: row.membership
            for row in rows
            if row.membership == "ban" or row.room_id in shown
        }
        rooms: list[JsonObject] = []
        deadline = self._clock() + PAGE_SECONDS
        goes_on = bool(walk.entered)  # such a page may be empty; the first has the space itself
        steps = 0
        while walk.left and len(rooms) < limit and walk.looked_at < MOST_ROOMS:
            if steps and (rooms or goes_on) and self._clock() > deadline:
                break
            steps += 1
            await self._look_ahead(walk)
            step = walk.left.pop()
            if not walk.enters(step):
                continue
            found = await self._find(walk, step, user_id, memberships.get(step.room_id))
            if found is None:
                continue
            walk.entered.add(step.room_id)
            children = [c for c in found.children if c.suggested or not walk.query.suggested_only]
            rooms.append(with_children(found.summary, children))
            if step.depth < walk.query.max_depth:
                self._push(walk, step, children, found)
        return rooms

    def _push(self, walk: _Walk, step: _Step, children: Sequence[Child], found: _Found) -> None:
        new = [child for child in children if child.room_id not in walk.entered]
        for child in reversed(new[: max(0, MOST_ROOMS - walk.size)]):
            known = found.summaries.get(child.room_id)
            hidden = child.room_id in found.inaccessible
            walk.left.append(_Step(child.room_id, step.depth + 1, child.via, known, hidden))

    async def _look_ahead(self, walk: _Walk) -> None:
        """Ask for the next rooms of other instances at once; the answers are kept for the walk."""
        if not await self._asks(walk, walk.left[-1]):
            return
        ahead = [step for step in walk.left[: -AHEAD - 1 : -1] if step.room_id not in walk.entered]
        asked = [step for step in ahead if await self._asks(walk, step)]
        await asyncio.gather(*(self._remote.space(step.room_id, step.via) for step in asked))

    async def _asks(self, walk: _Walk, step: _Step) -> bool:
        """Whether another instance has to be asked for a room: we are not in it, and what we were
        told does not suffice."""
        if step.hidden or not step.via:
            return False
        if step.known is not None and (
            step.known.get("room_type") != SPACE or step.depth >= walk.query.max_depth
        ):
            return False
        return await self._local.find(step.room_id) is None

    async def _find(
        self, walk: _Walk, step: _Step, user_id: str, membership: str | None
    ) -> _Found | None:
        """A room, if the user may see it: what we know ourselves goes before what others say."""
        room = await self._local.find(step.room_id)
        if room is not None:
            if not await self._local.may_see(room, user_id):
                return None
            return _Found(await self._local.summary(room), await self._local.children(room))
        found = await self._find_remote(walk, step)
        if found is None or not await self.remote_may_see(found.summary, user_id, membership):
            return None
        return found

    async def _find_remote(self, walk: _Walk, step: _Step) -> _Found | None:
        if await self._asks(walk, step):
            space = await self._remote.space(step.room_id, step.via)
            if space is not None:
                return _Found(space.room, space.children_state, space.children, space.inaccessible)
        return _Found(step.known) if step.known is not None else None

    async def remote_may_see(
        self, summary: JsonObject, user_id: str, membership: str | None
    ) -> bool:
        """Whether a user may see a room that another instance told us of.

        ``membership``: what we know of the user's own, a ban, or an invite that is shown to them.
        """
        if membership == "ban":
            return False
        if membership == "invite" or is_open(summary):
            return True
        if summary.get("join_rule") not in RESTRICTED:
            return False
        return await self._local.in_any(summary.get("allowed_room_ids", []), user_id)

    # ------------------------------------------------------------ for other instances

    async def for_server(
        self, server_name: str, room_id: str, *, suggested_only: bool
    ) -> JsonObject:
        """A room and the rooms right below it, as far as another instance's users may see them.

        Spec: server-server API, ``GET /hierarchy/{roomId}``.  Raises :class:`NotFound`.
        """
        room = await self._local.find(room_id)
        if room is None or not await self._local.server_may_see(room, server_name):
            raise NotFound("This server does not know that room, or yours may not see it")
        children = bounded(
            [
                child
                for child in await self._local.children(room)
                if child.suggested or not suggested_only
            ]
        )
        summaries, inaccessible = [], []
        for child in children[:MOST_SUMMARIES]:
            below = await self._local.find(child.room_id)
            if below is None:
                continue
            if await self._local.server_may_see(below, server_name):
                summaries.append(await self._local.summary(below))
            else:
                inaccessible.append(child.room_id)
        return {
            "room": with_children(await self._local.summary(room), children),
            "children": summaries,
            "inaccessible_children": inaccessible,
        }


def bounded(children: Sequence[Child]) -> list[Child]:
    """The first of some children, as many as an answer to another instance has room for."""
    left, taken = MOST_CHILD_BYTES, []
    for child in children:
        left -= len(orjson.dumps(child.event))
        if left < 0:
            break
        taken.append(child)
    return taken
