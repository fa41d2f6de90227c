"""The policy lists of this instance: drafts, what is in effect, and judging by it.

Where lists come from is elsewhere: :mod:`.following` reads rooms, :mod:`.files` reads files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from homeserver.errors import InvalidParam, MatrixError, NotFound
from homeserver.protocol.policy_rules import SERVER
from homeserver.services.policy_lists import entries as steps
from homeserver.services.policy_lists.entries import ALLOW, BLOCK, Change, Key, Wanted
from homeserver.services.policy_lists.index import ListIndex, ListVerdict
from homeserver.services.policy_lists.policy_list import ListSettings, PolicyList
from homeserver.services.server_blocks import Block, ServerBlocks
from homeserver.storage import policy_lists as storage
from homeserver.storage.database import Database
from homeserver.storage.policy_lists import EntryRow

logger = structlog.get_logger(__name__)

MAX_NAME_LENGTH = 255


class DraftChanged(MatrixError):
    """The draft is not the one that was looked at."""

    errcode, status = "M_UNKNOWN", 409


class PolicyLists:
    """Keeps the lists, and judges by what of them is in effect."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        blocks: ServerBlocks,
        settings: Sequence[ListSettings],
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._blocks = blocks
        self._settings = {item.room: item for item in settings}
        self._clock_ms = clock_ms
        self._lists: dict[str, PolicyList] = {}
        self._index = ListIndex(server_name, ())
        self._changing = asyncio.Lock()
        self._listeners: list[Callable[[PolicyList], None]] = []
        self.unfollowed_rooms: list[str] = []
        """Rooms of lists that are no longer configured."""

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Read the lists; those that are no longer configured are forgotten."""
        now = self._clock_ms()
        for row in await storage.get_lists(self._database):
            settings = ListSettings() if row.imported else self._settings.get(row.name)
            if settings is None:
                await storage.delete_list(self._database, row.list_id)
                if row.room_id is not None:
                    self.unfollowed_rooms.append(row.room_id)
                logger.info("list is no longer configured", list=row.name)
                continue
            found = await storage.get_entries(self._database, row.list_id)
            self._lists[row.name] = PolicyList(row, settings, {e.key: e for e in found})
        for name, settings in self._settings.items():
            if name not in self._lists:
                row = await storage.insert_list(
                    self._database, name, imported=False, created_at=now, created_by=""
                )
                self._lists[name] = PolicyList(row, settings)
            await self._drop_other_kinds(self._lists[name])
        await self._refresh()

    async def _drop_other_kinds(self, policy_list: PolicyList) -> None:
        kinds = policy_list.settings.kinds
        gone = [key for key in policy_list.entries if key[0] not in kinds]
        await self._store(policy_list, Change(gone=gone))

    def subscribe(self, listener: Callable[[PolicyList], None]) -> None:
        """Call ``listener`` after what is in effect of a list has changed.  It must not block."""
        self._listeners.append(listener)

    # ------------------------------------------------------------ judging

    def judge(self, sender: str, server: str, room_id: str) -> ListVerdict | None:
        """What lists and blocks say of a sender, their server, and a room; the strongest."""
        found = self.judge_user(sender, server)
        if found is not None and found.action == BLOCK:
            return found
        return self._index.room(room_id) or found

    def judge_user(self, user_id: str, server: str) -> ListVerdict | None:
        """What lists and blocks say of a user and their server."""
        if server != self._server_name:
            block = self._blocks.is_blocked(server)
            if block is not None:
                return self._blocked(block)
        return self._index.user(user_id)

    def judge_room(self, *names: str) -> ListVerdict | None:
        """What lists say of a room, by its ID or an alias."""
        return self._index.room(*names)

    def _blocked(self, block: Block) -> ListVerdict:
        found = self.by_source(block.source)
        return ListVerdict(
            BLOCK,
            found.row.name if found is not None else "",
            found.row.room_id if found is not None else None,
            SERVER,
            block.server,
            block.reason,
            block.created_at,
        )

    # ------------------------------------------------------------ looking

    def all(self) -> Sequence[PolicyList]:
        """The lists, the oldest first."""
        return sorted(self._lists.values(), key=lambda found: found.row.list_id)

    def get(self, name: str) -> PolicyList:
        """A list by its name.  Raises: :class:`NotFound`."""
        found = self._lists.get(name)
        if found is None:
            raise NotFound("There is no policy list of that name")
        return found

    def is_followed(self, room_id: str) -> bool:
        """Whether a room is that of a list."""
        return any(found.row.room_id == room_id for found in self._lists.values())

    def by_source(self, source: str) -> PolicyList | None:
        """The list that a block names."""
        for found in self._lists.values():
            if found.source == source:
                return found
        return None

    # ------------------------------------------------------------ changing

    async def note(
        self,
        policy_list: PolicyList,
        *,
        room_id: str | None = None,
        title: str | None = None,
        problem: str | None = None,
    ) -> None:
        """Store which room a list is, its name, and why it cannot be followed (None: it can)."""
        row = policy_list.row
        new = (room_id or row.room_id, row.title if title is None else title, problem)
        if new == (row.room_id, row.title, row.problem):
            return
        moved = new[0] != row.room_id
        row.room_id, row.title, row.problem = new
        await storage.update_list(self._database, row)
        if moved:
            await self._refresh()

    async def follow(self, policy_list: PolicyList, wanted: Mapping[Key, Wanted]) -> None:
        """A list was read: what is new comes into effect, or into its draft."""
        async with self._changing:
            now = self._clock_ms()
            change = steps.follow(
                policy_list.entries, wanted, at_once=policy_list.at_once, now_ms=now
            )
            in_effect = _in_effect(policy_list)
            policy_list.row.read_at = now
            if change and policy_list.at_once:
                policy_list.row.applied_at = policy_list.row.applied_at or now
            await self._store(policy_list, change)
            changed = _in_effect(policy_list) != in_effect
            if changed:
                await self._refresh()
        if change:
            logger.info(
                "list changed",
                list=policy_list.row.name,
                entries=len(policy_list.entries),
                draft=len(policy_list.draft()),
            )
        if changed:
            self._announce(policy_list)

    async def apply(
        self,
        name: str,
        *,
        actor: str,
        draft_id: str | None = None,
        entities: Collection[str] | None = None,
    ) -> int:
        """Bring a list's draft into effect, or those ``entities`` of it; how many entries.

        Raises: :class:`NotFound`; :class:`DraftChanged` if ``draft_id`` is another draft's.
        """
        policy_list = self.get(name)
        async with self._changing:
            chosen = _chosen(policy_list, draft_id, entities)
            change = steps.apply(chosen, now_ms=self._clock_ms())
            policy_list.row.applied_at = policy_list.row.applied_at or self._clock_ms()
            await self._store(policy_list, change)
            await self._refresh()
        logger.info("draft applied", list=name, entries=len(chosen), by=actor)
        self._announce(policy_list)
        return len(chosen)

    async def discard(
        self,
        name: str,
        *,
        actor: str,
        draft_id: str | None = None,
        entities: Collection[str] | None = None,
    ) -> int:
        """Decline a list's draft, or those ``entities`` of it; how many entries.

        It stays declined until the list itself changes there.  Raises as :meth:`apply`.
        """
        policy_list = self.get(name)
        async with self._changing:
            chosen = _chosen(policy_list, draft_id, entities)
            await self._store(policy_list, steps.discard(chosen))
        logger.info("draft discarded", list=name, entries=len(chosen), by=actor)
        return len(chosen)

    async def import_list(
        self, name: str, wanted: Mapping[Key, Wanted], *, actor: str
    ) -> PolicyList:
        """Take what a file says as the draft of a list of that name, new or imported before.

        Raises: :class:`InvalidParam` for the name of a room.
        """
        if not name or len(name) > MAX_NAME_LENGTH or "\0" in name or name[0] in "#!":
            raise InvalidParam("The name of an import may not be empty, or begin with # or !")
        policy_list = self._lists.get(name)
        if policy_list is None:
            row = await storage.insert_list(
                self._database, name, imported=True, created_at=self._clock_ms(), created_by=actor
            )
            policy_list = self._lists[name] = PolicyList(row, ListSettings())
        await self.follow(policy_list, wanted)
        return policy_list

    async def remove(self, name: str, *, actor: str) -> None:
        """Forget an imported list; what it blocked is no longer blocked.

        Raises: :class:`NotFound`; :class:`InvalidParam` for one that is configured.
        """
        policy_list = self.get(name)
        if not policy_list.row.imported:
            raise InvalidParam("That list is followed: take it out of policy.lists instead")
        async with self._changing:
            await storage.delete_list(self._database, policy_list.row.list_id)
            del self._lists[name]
            await self._refresh()
        logger.info("list removed", list=name, by=actor)

    # ------------------------------------------------------------ inside

    async def _store(self, policy_list: PolicyList, change: Change) -> None:
        list_id = policy_list.row.list_id
        async with self._database.transaction() as connection:
            await storage.save_entries(connection, list_id, change.saved)
            await storage.delete_entries(connection, list_id, change.gone)
            await storage.update_list(connection, policy_list.row)
        policy_list.take(change)

    async def _refresh(self) -> None:
        """File what is in effect anew; blocks of servers go where requests are refused."""
        verdicts: list[ListVerdict] = []
        blocks: list[Block] = []
        exempt: list[str] = []
        for policy_list in self.all():
            for entry in policy_list.in_effect():
                action = policy_list.action_of(entry)
                if entry.kind == SERVER and action == ALLOW:
                    exempt.append(entry.entity)
                elif entry.kind == SERVER and action == BLOCK:
                    if not self._blocks.includes_us(entry.entity):
                        blocks.append(_block(policy_list, entry))
                else:
                    verdicts.append(_verdict(policy_list, entry, action))
        self._index = ListIndex(self._server_name, verdicts)
        await self._blocks.use_lists(blocks, exempt)

    def _announce(self, policy_list: PolicyList) -> None:
        for listener in self._listeners:
            listener(policy_list)


def _chosen(
    policy_list: PolicyList, draft_id: str | None, entities: Collection[str] | None
) -> list[EntryRow]:
    if draft_id is not None and draft_id != policy_list.draft_id():
        raise DraftChanged("The draft has changed meanwhile: look at it again")
    draft = policy_list.draft()
    return draft if entities is None else [entry for entry in draft if entry.entity in entities]


def _in_effect(policy_list: PolicyList) -> dict[Key, tuple[str | None, str]]:
    return {entry.key: (entry.action, entry.reason) for entry in policy_list.in_effect()}


def _verdict(policy_list: PolicyList, entry: EntryRow, action: str) -> ListVerdict:
    return ListVerdict(
        action,
        policy_list.row.name,
        policy_list.row.room_id,
        entry.kind,
        entry.entity,
        entry.reason,
        entry.changed_at,
    )


def _block(policy_list: PolicyList, entry: EntryRow) -> Block:
    return Block(entry.entity, entry.reason, policy_list.source, entry.changed_at)
