"""Stand-ins for what the services of devices, receipts and media need of the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from homeserver.errors import PeerFailed
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.storage.event_records import EventRecord, MembershipChange

ALICE = "@alice:one.example"
BOB = "@bob:one.example"
CAROL = "@carol:two.example"
ROOM = "!room:one.example"
SERVER = "one.example"
PEER = "two.example"

INSERT_MEMBERSHIP = """
INSERT INTO memberships (room_id, user_id, membership, event_id, sender, position, local)
VALUES ($1, $2, $3, '$e', $2, $4, $2 LIKE '%:one.example')
ON CONFLICT (room_id, user_id) DO UPDATE SET membership = EXCLUDED.membership,
    position = EXCLUDED.position
"""
INSERT_CHANGE = """
INSERT INTO membership_changes (position, user_id, room_id, membership, event_id)
VALUES ($1, $2, $3, $4, '$e')
"""
INSERT_EVENT = """
INSERT INTO events (event_id, position, room_id, timeline_order, type, sender, depth,
    origin_server_ts, auth_event_ids, prev_event_ids, relates_to, relation_type, pdu)
VALUES ($1, $2, $3, $2, 'm.room.message', '@alice:one.example', 1, 1, '{}', '{}', $4, $5, '{}')
"""


class Edus:
    """Queues of EDUs that only remember what was put in."""

    def __init__(self) -> None:
        self.durable: list[tuple[str, str, dict[str, Any]]] = []
        self.ephemeral: list[tuple[str, str, dict[str, Any]]] = []

    async def queue_edu(
        self,
        destinations: Collection[str],
        edu_type: str,
        content: dict[str, Any],
        coalesce_key: str | None = None,
        connection: Any = None,
    ) -> None:
        """Remember an EDU for each destination."""
        self.durable += [(destination, edu_type, content) for destination in destinations]

    def queue_ephemeral(
        self, destinations: Collection[str], edu_type: str, content: dict[str, Any], key: str
    ) -> None:
        """Remember an EDU for each destination."""
        self.ephemeral += [(destination, edu_type, content) for destination in destinations]


class Members:
    """Who is joined to which room."""

    def __init__(self) -> None:
        self.joined: dict[str, set[str]] = defaultdict(set)

    async def joined_servers(self, room_id: str) -> set[str]:
        """The other instances in a room."""
        return {user.partition(":")[2] for user in self.joined[room_id]} - {SERVER}

    async def is_joined(self, room_id: str, user_id: str) -> bool:
        """Whether a user is in a room."""
        return user_id in self.joined[room_id]


class Peers:
    """Other instances: user ID -> what ``/user/devices`` answers, unless they are down."""

    def __init__(self) -> None:
        self.lists: dict[str, dict[str, Any]] = {}
        self.one_time_keys: dict[str, Any] = {}
        self.down = False
        self.asked: list[str] = []

    async def user_devices(
        self, server_name: str, user_id: str, timeout_seconds: float
    ) -> dict[str, Any]:
        """A device list."""
        self._ask(f"devices {user_id}")
        return self.lists[user_id]

    async def query_keys(
        self, server_name: str, device_keys: dict[str, list[str]], timeout_seconds: float
    ) -> dict[str, Any]:
        """Identity keys."""
        self._ask("query")
        return {
            "device_keys": {
                user: {d["device_id"]: d["keys"] for d in self.lists[user]["devices"]}
                for user in device_keys
            }
        }

    async def claim_keys(
        self, server_name: str, one_time_keys: dict[str, Any], timeout_seconds: float
    ) -> dict[str, Any]:
        """One-time keys."""
        self._ask("claim")
        return {"one_time_keys": self.one_time_keys}

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.down:
            raise PeerFailed("It is down")


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


async def add_device(database: Any, user_id: str, device_id: str, name: str | None = None) -> None:
    """An account, if there is none, and a device of it."""
    await database.execute(
        "INSERT INTO accounts (user_id, created_at) VALUES ($1, 1) ON CONFLICT DO NOTHING", user_id
    )
    await database.execute(
        "INSERT INTO devices (user_id, device_id, display_name, created_at) VALUES ($1, $2, $3, 1)",
        user_id,
        device_id,
        name,
    )


async def set_membership(
    database: Any, user_id: str, membership: str = "join", room_id: str = ROOM
) -> int:
    """Change a membership at the next position of the log; that position."""
    position: int = await database.fetchval("SELECT take_positions(1)")
    await database.execute(INSERT_MEMBERSHIP, room_id, user_id, membership, position)
    if user_id.endswith(SERVER):
        await database.execute(INSERT_CHANGE, position, user_id, room_id, membership)
    return position


def join_record(room_id: str, user_id: str) -> EventRecord:
    """That somebody has joined a room, as the log tells of it."""
    pdu = {
        "type": "m.room.member",
        "room_id": room_id,
        "sender": user_id,
        "state_key": user_id,
        "content": {"membership": "join"},
        "origin_server_ts": 1,
        "depth": 1,
        "auth_events": [],
        "prev_events": [],
    }
    event = Event(pdu, "$join", ROOM_VERSIONS["11"])
    local = user_id.endswith(f":{SERVER}")
    change = MembershipChange(room_id, user_id, "join", "$join", user_id, local)
    return EventRecord(event, memberships=[change])


async def add_event(
    database: Any,
    event_id: str,
    room_id: str = ROOM,
    relates_to: str | None = None,
    relation_type: str | None = None,
) -> int:
    """A message at the next position of the log; that position."""
    position: int = await database.fetchval("SELECT take_positions(1)")
    await database.execute(INSERT_EVENT, event_id, position, room_id, relates_to, relation_type)
    return position


def device_keys(user_id: str, device_id: str, curve: str = "curve") -> dict[str, Any]:
    """A device's identity keys."""
    return {
        "user_id": user_id,
        "device_id": device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": {f"ed25519:{device_id}": "ed", f"curve25519:{device_id}": curve},
        "signatures": {user_id: {f"ed25519:{device_id}": "signature"}},
    }
