"""Blocked instances and policy lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeserver.protocol.identifiers import UserId
from homeserver.services.policy import Policy
from homeserver.services.policy_lists.acl_keeper import AclKeeper
from homeserver.services.policy_lists.following import Following
from homeserver.services.policy_lists.gate import ListedPolicy, ListGate
from homeserver.services.policy_lists.lists import PolicyLists
from homeserver.services.policy_lists.policy_list import ListSettings
from homeserver.services.policy_lists.preview import Previews
from homeserver.services.policy_lists.service_account import ServiceAccount
from homeserver.services.room_acls import RoomAcls
from homeserver.services.server_blocks import ServerBlocks
from homeserver.services.server_sweep import ServerSweep
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.config import Config
    from homeserver.storage.database import Database
    from homeserver.wiring import Wiring


class ListGates:
    """The lists, and the doors at which they are asked: needed before rooms are."""

    def __init__(
        self, config: Config, database: Database, blocks: ServerBlocks, policy: Policy
    ) -> None:
        self.lists = PolicyLists(
            server_name=config.server_name,
            database=database,
            blocks=blocks,
            settings=[ListSettings.parse(item) for item in config.policy.lists],
            clock_ms=clock_ms,
        )
        self.gate = ListGate(server_name=config.server_name, lists=self.lists, trail=policy.trail)
        self.arrivals = ListedPolicy(self.gate, policy)


class ListParts:
    """What follows lists, and looks into what they would do."""

    def __init__(self, wiring: Wiring) -> None:
        config, database = wiring.config, wiring.database
        wiring.server_blocks.sweeper = ServerSweep(
            database=database, requests=wiring.consent_parts.requests
        )
        account = UserId(f"@{config.policy.list_account}:{config.server_name}")
        self.previews = Previews(server_name=config.server_name, account=account, database=database)
        self.following = Following(
            lists=wiring.list_gates.lists,
            account=ServiceAccount(
                user_id=account,
                database=database,
                accounts=wiring.accounts,
                consent=wiring.consent,
            ),
            rooms=wiring.rooms,
            store=wiring.store,
            joins=wiring.membership,
            aliases=wiring.directory,
        )
        wiring.log.subscribe(self.following.on_notice)
        self.acls = RoomAcls(server_name=config.server_name, database=database, rooms=wiring.rooms)
        self.acl_keeper = AclKeeper(
            server_name=config.server_name,
            database=database,
            lists=wiring.list_gates.lists,
            acls=self.acls,
        )

    async def start(self) -> None:
        """Begin to follow, once all that it needs runs."""
        await self.following.start()
        await self.acl_keeper.start()

    async def close(self) -> None:
        """Stop following."""
        await self.acl_keeper.close()
        await self.following.close()
