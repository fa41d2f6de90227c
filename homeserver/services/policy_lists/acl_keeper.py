"""Keeps the ACLs of rooms made here in step with lists that say ``acl: true``.

Only rooms that people can come to uninvited.  What we put into a room is remembered, so that
nothing else is ever taken out; what a room's own moderators take out again stays out.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from homeserver.errors import InvalidParam, MatrixError
from homeserver.protocol.policy_rules import SERVER
from homeserver.protocol.server_names import ServerAcl
from homeserver.services.policy_lists.entries import BLOCK
from homeserver.services.policy_lists.lists import PolicyLists
from homeserver.services.policy_lists.policy_list import PolicyList
from homeserver.services.room_acls import RoomAcls, check_acl_glob
from homeserver.storage import room_acls as storage
from homeserver.storage.database import Database

logger = structlog.get_logger(__name__)

SETTLING_SECONDS = 60.0  # changes of a list are put into rooms together
EVERY_SECONDS = 3_600.0  # rooms made meanwhile


class AclKeeper:
    """One pass over the rooms after each change, and now and then."""

    def __init__(
        self, *, server_name: str, database: Database, lists: PolicyLists, acls: RoomAcls
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._lists = lists
        self._acls = acls
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, if any list wants it or any did."""
        wanted = any(found.settings.acl for found in self._lists.all())
        if wanted or await storage.get_acl_entries(self._database):
            self._lists.subscribe(self._on_change)
            self._task = asyncio.create_task(self._run(), name="room ACLs")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _on_change(self, policy_list: PolicyList) -> None:
        if policy_list.settings.acl:
            self._changed.set()

    async def _run(self) -> None:
        while True:
            try:
                await self.keep()
            except Exception:
                logger.exception("room ACLs could not be kept in step")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_SECONDS):
                    await self._changed.wait()
                await asyncio.sleep(SETTLING_SECONDS)
            self._changed.clear()

    async def keep(self) -> None:
        """Bring all rooms in step; a room that cannot be is left for the next time."""
        wanted = self._wanted()
        ours = await storage.get_acl_entries(self._database)
        rooms = await self._acls.rooms_made_here() if wanted else []
        for room_id in dict.fromkeys([*rooms, *ours]):
            present = ours.get(room_id, set())
            if present == wanted.keys():
                continue
            try:
                await self._keep_room(room_id, wanted, present)
            except MatrixError as error:
                logger.info("acl not changed", room_id=room_id, reason=error.text)

    async def _keep_room(self, room_id: str, wanted: dict[str, int], ours: set[str]) -> None:
        if not ours and not await self._acls.is_open(room_id):
            return
        new, gone = sorted(wanted.keys() - ours), ours - wanted.keys()
        change = await self._acls.plan(room_id, deny=new, undeny=gone)
        if change.problem:
            raise MatrixError(change.problem)
        if change:
            await self._acls.send(change)
        await storage.delete_acl_entries(self._database, room_id, gone)
        for glob in change.added:  # what was denied there before is the room's own
            await storage.add_acl_entries(self._database, room_id, (glob,), wanted[glob])

    def _wanted(self) -> dict[str, int]:
        """Glob -> the list that wants it denied."""
        wanted: dict[str, int] = {}
        for policy_list in self._lists.all():
            if not policy_list.settings.acl:
                continue
            for entry in policy_list.in_effect():
                if entry.kind != SERVER or policy_list.action_of(entry) != BLOCK:
                    continue
                with contextlib.suppress(InvalidParam):
                    glob = check_acl_glob(entry.entity)
                    if ServerAcl({"allow": ["*"], "deny": [glob]}).allows(self._server_name):
                        wanted.setdefault(glob, policy_list.row.list_id)
        return wanted
