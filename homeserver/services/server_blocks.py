"""Instances that this one does not deal with: what the admin, rules and lists block.

A blocked instance's requests are refused, and nothing is sent to it.  The admin's word comes first,
then an exemption, then what rules and lists say.  What was addressed to a blocked instance waits,
and goes when the block ends; after a block of more than :data:`KEPT_MS` it is dropped instead, and
the instance fetches what it missed from the rooms' history, as it would after any long absence.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

import structlog
from msgspec import Struct

from homeserver.errors import InvalidParam
from homeserver.protocol.glob_index import GlobIndex
from homeserver.protocol.globs import glob_to_regex
from homeserver.protocol.server_names import host_of
from homeserver.storage import server_blocks as storage
from homeserver.storage.database import Database
from homeserver.storage.server_blocks import BlockRow

logger = structlog.get_logger(__name__)

ADMIN = "admin"
KEPT_MS = 7 * 24 * 3600 * 1000
MAX_REASON_LENGTH = 1_000
CACHED_NAMES = 10_000
LONGEST_SLEEP_SECONDS = 60.0
SERVER_GLOB = re.compile(r"[0-9a-z.:\[\]*?_-]{1,255}", re.ASCII)


class Block(Struct, frozen=True):
    """A block of the instances that a glob names, in lower case.  Times in ms."""

    server: str
    reason: str
    source: str  # admin, rule:<name>, list:<room ID>, csv:<name>
    created_at: int
    created_by: str = ""
    expires_at: int | None = None


class RequestSweeper(Protocol):
    """Withdraws what a blocked instance's users asked of ours."""

    async def servers_blocked(self, servers: Collection[str]) -> None:
        """Take pending requests and invites from instances matching the globs out of sight."""


class ServerAdmission(Protocol):
    """Which instances this one deals with, by its configuration and by its blocks."""

    def allows(self, server_name: str) -> bool:
        """Whether anything is sent to, or taken from, an instance."""


class Backlog(Protocol):
    """What waits to be sent to other instances."""

    def rules_changed(self) -> None:
        """Stop sending to whom nothing may be sent any more; send to whom it may be again."""

    async def forget(self, server: str) -> None:
        """Drop what waits for instances matching a glob."""


class ServerBlocks:
    """Which instances are blocked, and why."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        clock_ms: Callable[[], int],
        sweeper: RequestSweeper | None = None,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._clock_ms = clock_ms
        self.sweeper = sweeper
        self.backlog: Backlog | None = None
        self._rows: list[BlockRow] = []
        self._listed: dict[str, Block] = {}
        self._listed_exempt: list[str] = []
        self._verdicts: dict[str, Block | None] = {}
        self._changing = asyncio.Lock()
        self._timer: asyncio.Task[None] | None = None
        self._index()

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Read the blocks, and begin to watch for their end."""
        await self._reload()
        self._timer = asyncio.create_task(self._watch(), name="ends of blocks")

    async def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._timer

    async def _watch(self) -> None:
        while True:
            try:
                await self.end_expired()
            except Exception:
                logger.exception("blocks could not be ended")
            ends = [row.expires_at for row in self._rows if row.expires_at is not None]
            wait = (min(ends) - self._clock_ms()) / 1000 if ends else LONGEST_SLEEP_SECONDS
            await asyncio.sleep(min(max(wait, 0.05), LONGEST_SLEEP_SECONDS))

    async def end_expired(self) -> None:
        """Lift the blocks whose time is over."""
        async with self._changing:
            now = self._clock_ms()
            over = [
                row for row in self._rows if row.expires_at is not None and row.expires_at <= now
            ]
            if not over:
                return
            await self._forget_backlogs((row.server, row.created_at) for row in over)
            await storage.delete_expired(self._database, now)
            await self._reload()
        for row in over:
            logger.info("block ended", server=row.server, source=row.source)
        self._announce()

    # ------------------------------------------------------------ asking

    def is_blocked(self, server_name: str) -> Block | None:
        """The block of an instance, if there is one; with or without its port."""
        try:
            return self._verdicts[server_name]
        except KeyError:
            pass
        verdict = self._judge(server_name.lower())
        if len(self._verdicts) >= CACHED_NAMES:
            self._verdicts.clear()
        self._verdicts[server_name] = verdict
        return verdict

    def _judge(self, name: str) -> Block | None:
        names = dict.fromkeys((name, host_of(name)))
        for index in (self._admin, self._exempt, self._by_rules, self._by_lists):
            for candidate in names:
                found = index.find(candidate)
                if found is not None:
                    return None if index is self._exempt else found
        return None

    def is_admitted(self, server_name: str) -> bool:
        """Whether an imported list lets an instance in where only some may come in."""
        if not self._listed_exempt:
            return False
        name = server_name.lower()
        return bool(self._admitted.find(name) or self._admitted.find(host_of(name)))

    def list(self) -> Sequence[Block]:
        """What the admin and rules block, the oldest first; what lists block is with the lists."""
        return [_block(row) for row in self._rows if not row.exempt]

    def exemptions(self) -> Sequence[Block]:
        """What the admin has exempted from lists and rules."""
        return [_block(row) for row in self._rows if row.exempt]

    # ------------------------------------------------------------ changing

    async def block(
        self,
        server: str,
        *,
        reason: str,
        source: str,
        actor: str | None = None,
        expires_at: int | None = None,
    ) -> Block:
        """Block the instances that a glob names, at once.

        Raises: :class:`InvalidParam` for what is no glob over server names, or includes this
        instance.
        """
        return await self._save(server, reason, source, actor, expires_at, exempt=False)

    async def exempt(self, server: str, *, reason: str, actor: str | None = None) -> Block:
        """Let lists and rules not block these instances.  Raises as :meth:`block`."""
        return await self._save(server, reason, ADMIN, actor, None, exempt=True)

    async def _save(
        self,
        server: str,
        reason: str,
        source: str,
        actor: str | None,
        expires_at: int | None,
        *,
        exempt: bool,
    ) -> Block:
        glob = self.check_glob(server, own=exempt)
        if "\0" in reason or len(reason) > MAX_REASON_LENGTH:
            raise InvalidParam(f"A reason has at most {MAX_REASON_LENGTH} characters")
        now = self._clock_ms()
        if expires_at is not None and expires_at <= now:
            raise InvalidParam("The block would be over before it begins")
        row = BlockRow(glob, source, exempt, reason, now, actor or "", expires_at)
        async with self._changing:
            await storage.save_block(self._database, row)
            await self._reload()
        logger.info("block changed", server=glob, source=source, exempt=exempt, by=actor)
        self._announce()
        if not exempt:
            await self._sweep((glob,))
        return _block(row)

    async def unblock(self, server: str, *, actor: str | None = None) -> bool:
        """Lift the blocks of a glob, whoever made them; against a list's it becomes exempt.

        False if it was not blocked.  Raises as :meth:`block`.
        """
        glob = self.check_glob(server, own=True)
        async with self._changing:
            mine = [row for row in self._rows if row.server == glob and not row.exempt]
            await self._forget_backlogs((row.server, row.created_at) for row in mine)
            if mine:
                await storage.delete_blocks(self._database, glob)
            await self._reload()
            listed = self._listed.get(glob) or self.is_blocked(glob)
            if listed is not None and listed.source == ADMIN:
                raise InvalidParam(f"'{glob}' is blocked by '{listed.server}': unblock that")
            if listed is not None:
                await self._forget_backlogs([(glob, listed.created_at)])
                reason = f"exempt from {listed.source}"
                await storage.save_block(
                    self._database,
                    BlockRow(glob, ADMIN, True, reason, self._clock_ms(), actor or "", None),
                )
                await self._reload()
        if not mine and listed is None:
            return False
        logger.info("block lifted", server=glob, by=actor)
        self._announce()
        return True

    async def use_lists(self, blocks: Iterable[Block], exempt: Iterable[str]) -> None:
        """Take what the policy lists in effect block and exempt, in place of what they did."""
        listed, exempted = {block.server: block for block in blocks}, sorted(exempt)
        async with self._changing:
            if listed == self._listed and exempted == self._listed_exempt:
                return
            before, self._listed = self._listed, listed
            self._listed_exempt = exempted
            lifted = [block for glob, block in before.items() if glob not in listed]
            await self._forget_backlogs((block.server, block.created_at) for block in lifted)
            self._index()
        self._announce()
        await self._sweep([glob for glob in listed if glob not in before])

    def check_glob(self, server: str, *, own: bool = False) -> str:
        """A glob over server names in lower case.

        Raises: :class:`InvalidParam` if it is none, or, unless ``own``, includes this instance.
        """
        glob = server.strip().lower()
        if SERVER_GLOB.fullmatch(glob) is None:
            raise InvalidParam(f"'{server[:100]}' is not a server name or a glob over them")
        if not own and self.includes_us(glob):
            raise InvalidParam(f"'{glob}' includes this server itself")
        return glob

    def includes_us(self, glob: str) -> bool:
        """Whether a glob matches this instance's own name, with or without its port."""
        name = self._server_name.lower()
        pattern = glob_to_regex(glob.lower())
        return any(pattern.match(text) for text in (name, host_of(name)))

    # ------------------------------------------------------------ inside

    async def _reload(self) -> None:
        self._rows = await storage.get_blocks(self._database)
        self._index()

    def _index(self) -> None:
        blocks = [(row.server, _block(row)) for row in self._rows if not row.exempt]
        exempt = [(row.server, _block(row)) for row in self._rows if row.exempt]
        exempt += [(glob, Block(glob, "", "list", 0)) for glob in self._listed_exempt]
        self._admin = GlobIndex((glob, block) for glob, block in blocks if block.source == ADMIN)
        self._exempt = GlobIndex(exempt)
        self._by_rules = GlobIndex((glob, block) for glob, block in blocks if block.source != ADMIN)
        self._admitted = GlobIndex((glob, True) for glob in self._listed_exempt)
        self._by_lists = GlobIndex(self._listed.items())
        self._verdicts = {}

    def _announce(self) -> None:
        if self.backlog is not None:
            self.backlog.rules_changed()

    async def _forget_backlogs(self, ending: Iterable[tuple[str, int]]) -> None:
        """Before long blocks end: what they kept waiting is not worth sending any more."""
        if self.backlog is None:
            return
        latest = self._clock_ms() - KEPT_MS
        for server, created_at in ending:
            if created_at < latest:
                await self.backlog.forget(server)

    async def _sweep(self, globs: Collection[str]) -> None:
        if self.sweeper is None or not globs:
            return
        try:
            await self.sweeper.servers_blocked(globs)
        except Exception:  # the block itself stands
            logger.exception("requests of blocked instances not withdrawn")


def _block(row: BlockRow) -> Block:
    return Block(row.server, row.reason, row.source, row.created_at, row.created_by, row.expires_at)
