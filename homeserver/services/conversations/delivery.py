"""How far a user's own messages have come: of one, to each recipient; of many, in short."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import orjson
from msgspec import Struct
from msgspec.structs import replace

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.events import Event
from homeserver.services.audience import RECEIPTS_SCOPE, Audience
from homeserver.services.conversations.shapes.delivery import (
    STATES,
    Counts,
    DeliveryReport,
    Reason,
    RecipientStatus,
)
from homeserver.services.conversations.shapes.messages import Status
from homeserver.services.conversations.shapes.pages import make_cursor, parse_cursor
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.delivery.progress import DeviceProgress
from homeserver.services.delivery.stages import (
    DEVICE,
    INSTANCE,
    PENDING,
    READ,
    SENT,
    Instances,
    Sendout,
    Stage,
    on_the_way,
    stage_of,
)
from homeserver.services.event_store import EventStore
from homeserver.services.rooms import Rooms
from homeserver.storage import delivery as storage
from homeserver.storage.database import Database
from homeserver.storage.delivery import MemberProgress, Read
from homeserver.storage.events import StoredEvent

MOST_IN_FULL = 100  # recipients that are looked at one by one, to count them
MOST_IN_SHORT = 20  # likewise, in lists
IN = ("join", "invite")


class _Room(Struct, frozen=True):
    """What lists know of a room: its members if they are few, else how many there are."""

    members: Sequence[MemberProgress] | None
    reads: Mapping[str, Sequence[Read]]  # by user
    read_orders: Sequence[int]
    joined: int
    invited: int


class DeliveryStatuses:
    """Answers how far messages have come."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        store: EventStore,
        rooms: Rooms,
        progress: DeviceProgress,
        instances: Instances,
        audience: Audience,
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._store = store
        self._rooms = rooms
        self._progress = progress
        self._instances = instances
        self._audience = audience
        self._clock_ms = clock_ms

    # ------------------------------------------------------------ which message

    async def own_message(self, user_id: str, room_id: str, event_id: str) -> StoredEvent:
        """A message that a user sent into a conversation.

        Raises :class:`NotFound`; :class:`Forbidden` if it is somebody else's.
        """
        stored = await self._store.get(event_id)
        if stored is None or stored.event.room_id != room_id or stored.event.is_state:
            raise NotFound("There is no such message in this conversation")
        if stored.event.sender != user_id:
            room = await self._rooms.find(room_id)
            if room is None or not room.is_joined(user_id):
                raise NotFound("There is no such message in this conversation")
            raise Forbidden("Only its sender sees how far a message has come")
        return stored

    async def sendouts(self, events: Collection[StoredEvent]) -> dict[str, Sendout]:
        """Event ID -> where it has arrived."""
        ids = [stored.event.event_id for stored in events]
        sets = await storage.get_destination_sets(self._database, ids)
        acked = await storage.get_acked_by_set(
            self._database, {number for number in sets.values() if number is not None}
        )
        refusals = {}
        if acked:
            refusals = await storage.get_refusals(self._database, ids)
        return {
            stored.event.event_id: _sendout(
                stored,
                acked.get(sets.get(stored.event.event_id) or 0, {}),
                refusals.get(stored.event.event_id, {}),
            )
            for stored in events
        }

    # ------------------------------------------------------------ one message

    async def report(
        self, user_id: str, room_id: str, event_id: str, *, cursor: str | None, limit: int
    ) -> DeliveryReport:
        """How far a user's message has come, to each recipient.

        Who was in the conversation when it was sent is a recipient.  Raises what
        :meth:`own_message` raises, :class:`InvalidParam` for a cursor that is none.
        """
        after = parse_cursor(cursor, str)[0] if cursor else ""
        stored = await self.own_message(user_id, room_id, event_id)
        sendout = (await self.sendouts([stored]))[event_id]
        few = await self._recipients(sendout, "", MOST_IN_FULL + 1)
        if len(few) <= MOST_IN_FULL:
            stages = await self._stages(sendout, few)
            counts = _counts(len(few), Counter(stage.level for stage in stages.values()))
            page = [member for member in few if member.user_id > after][: limit + 1]
        else:
            counts = await self._count_many(sendout)
            page = await self._recipients(sendout, after, limit + 1)
            stages = await self._stages(sendout, page[:limit])
        more = len(page) > limit
        page = page[:limit]
        return DeliveryReport(
            message_id=event_id,
            status=STATES[_least(counts, sendout)],
            counts=counts,
            recipients=[_recipient(m.user_id, stages[m.user_id]) for m in page],
            next=make_cursor(page[-1].user_id) if more else None,
        )

    async def _recipients(self, sendout: Sendout, after: str, limit: int) -> list[MemberProgress]:
        """Who was in the room when a message was sent, by user ID."""
        found: list[MemberProgress] = []
        while True:
            members = await storage.get_members(
                self._database,
                sendout.room_id,
                but=sendout.sender,
                after=after,
                position=sendout.position,
                limit=limit,
            )
            found.extend(await self._as_then(sendout, members))
            if len(members) < limit or len(found) >= limit:
                return found[:limit]
            after = members[-1].user_id

    async def _as_then(
        self, sendout: Sendout, members: Sequence[MemberProgress]
    ) -> list[MemberProgress]:
        """Those who were members then: joined or invited, whatever they are now."""
        moved = [m.user_id for m in members if m.position > sendout.position]
        if not moved:
            return list(members)
        pdus = await storage.get_member_pdus(
            self._database, sendout.room_id, moved, sendout.position
        )
        then: list[MemberProgress] = []
        for member in members:
            if member.position <= sendout.position:
                then.append(member)
            elif member.user_id in pdus:
                content = orjson.loads(pdus[member.user_id]).get("content", {})
                if content.get("membership") in IN:
                    # who has left since may have got it; who was invited then has by joining
                    membership = "invite" if member.membership == "invite" else "join"
                    if content.get("membership") == "invite" and member.membership not in IN:
                        membership = "invite"
                    then.append(replace(member, membership=membership))
        return then

    async def _stages(
        self, sendout: Sendout, members: Sequence[MemberProgress]
    ) -> dict[str, Stage]:
        reads = await self._reads([sendout.room_id], members)
        return await self._stages_in(sendout, members, reads.get(sendout.room_id, {}))

    async def _reads(
        self, room_ids: Collection[str], members: Iterable[MemberProgress]
    ) -> dict[str, dict[str, list[Read]]]:
        """Room ID -> user ID -> how far they have read."""
        found: dict[str, dict[str, list[Read]]] = {}
        users = {member.user_id for member in members}
        for read in await storage.get_reads(self._database, room_ids, users) if users else ():
            found.setdefault(read.room_id, defaultdict(list))[read.user_id].append(read)
        return found

    async def _stages_in(
        self,
        sendout: Sendout,
        members: Sequence[MemberProgress],
        reads: Mapping[str, Sequence[Read]],
    ) -> dict[str, Stage]:
        """User ID -> how far a message has come to them."""
        now, stages = self._clock_ms(), {}
        for stored in members:
            member = self._as_now(stored)
            shows = (
                not member.local
                or not self._audience.restricts(RECEIPTS_SCOPE, member.user_id)
                or await self._audience.may_see(member.user_id, sendout.sender, RECEIPTS_SCOPE)
            )
            stages[member.user_id] = stage_of(
                sendout,
                member,
                reads.get(member.user_id, ()),
                shows=shows,
                instances=self._instances,
                now=now,
            )
        return stages

    async def _count_many(self, sendout: Sendout) -> Counts:
        """The counts of a large group, from sums; who came or went since is counted as well."""
        room_id = sendout.room_id
        joined, invited = (await storage.count_members(self._database, [room_id]))[room_id]
        orders = (await storage.get_read_orders(self._database, [room_id], sendout.sender)).get(
            room_id, ()
        )
        read = min(len(orders) - bisect_left(orders, sendout.order), joined)
        devices = await storage.count_devices_at(
            self._database, room_id, sendout.position, sendout.order, sendout.sender
        )
        room = await self._rooms.find(room_id)
        hosts = room.hosts if room is not None else Counter[str]()
        now, waiting = self._clock_ms(), Counter[int]()
        for server, members in hosts.items():
            if server == self._server_name:
                continue
            stage = on_the_way(sendout, server, self._instances, now)
            if stage.level < INSTANCE:
                waiting[stage.level] += members
        others = joined - (room is not None and room.is_joined(sendout.sender))
        if sendout.is_held:
            return _counts(others + invited, Counter({PENDING: others + invited}))
        devices = max(devices, read)
        arrived = max(others - sum(waiting.values()), devices)
        levels = {
            PENDING: invited + waiting[PENDING],
            SENT: waiting[SENT],
            INSTANCE: arrived - devices,
            DEVICE: devices - read,
            READ: read,
        }
        return _counts(sum(levels.values()), Counter(levels))

    def _as_now(self, member: MemberProgress) -> MemberProgress:
        """A member with what is not written down yet."""
        position = self._progress.position(member.user_id) if member.local else 0
        if position <= member.device_position:
            return member
        return replace(member, device_position=position)

    # ------------------------------------------------------------ many, in short

    async def summaries(self, user_id: str, events: Iterable[StoredEvent]) -> dict[str, Status]:
        """Event ID -> how far it has come, of those that the user sent.

        Whatever their number, it costs a few statements.
        """
        own = [
            stored
            for stored in events
            if stored.event.sender == user_id and not stored.event.is_state
        ]
        if not own:
            return {}
        sendouts = await self.sendouts(own)
        rooms = await self._rooms_in_short(user_id, {stored.event.room_id for stored in own})
        return {
            event_id: await self._in_short(sendout, rooms[sendout.room_id])
            for event_id, sendout in sendouts.items()
        }

    async def _rooms_in_short(self, user_id: str, room_ids: Collection[str]) -> dict[str, _Room]:
        members = await storage.get_few_members(self._database, room_ids, user_id, MOST_IN_SHORT)
        large = [room_id for room_id, few in members.items() if len(few) > MOST_IN_SHORT]
        small = {room_id: few for room_id, few in members.items() if room_id not in set(large)}
        reads = await self._reads(small, [m for few in small.values() for m in few])
        orders, counted = {}, {}
        if large:
            orders = await storage.get_read_orders(self._database, large, user_id)
            counted = await storage.count_members(self._database, large)
        rooms = {
            room_id: _Room(few, reads.get(room_id, {}), (), 0, 0) for room_id, few in small.items()
        }
        for room_id in large:
            joined, invited = counted[room_id]
            rooms[room_id] = _Room(None, {}, orders.get(room_id, ()), joined - 1, invited)
        return rooms

    async def _in_short(self, sendout: Sendout, room: _Room) -> Status:
        if room.members is None:
            return self._of_many(sendout, room)
        stages = (await self._stages_in(sendout, room.members, room.reads)).values()
        counts = _counts(len(room.members), Counter(stage.level for stage in stages))
        least = _least(counts, sendout)
        reason = next((stage.cause for stage in stages if stage.level == least), None)
        if sendout.is_held:
            reason = "policy"
        return _status(least, counts, reason)

    def _of_many(self, sendout: Sendout, room: _Room) -> Status:
        """In a large group: by its instances, and by how many have read it."""
        read = len(room.read_orders) - bisect_left(room.read_orders, sendout.order)
        recipients, now = room.joined + room.invited, self._clock_ms()
        level, reason = INSTANCE, None
        if sendout.is_held:
            level, reason = PENDING, "policy"
        for server in sendout.missing:
            stage = on_the_way(sendout, server, self._instances, now)
            if stage.level < level:
                level, reason = stage.level, stage.cause
        if level == INSTANCE and read >= recipients:
            level = READ
        return Status(
            state=STATES[level], recipients=recipients, read=min(read, recipients), reason=reason
        )


def _sendout(stored: StoredEvent, acked: Mapping[str, int], refusals: Mapping[str, str]) -> Sendout:
    event = stored.event
    return Sendout(
        event_id=event.event_id,
        room_id=event.room_id,
        sender=event.sender,
        position=stored.position,
        order=stored.order,
        sent_at=event.origin_server_ts,
        thread_id=_thread(event),
        is_held=stored.withheld is not None and not stored.soft_failed,
        acked=acked,
        refusals=refusals,
    )


def _thread(event: Event) -> str | None:
    relation = event.content.get("m.relates_to")
    if isinstance(relation, dict) and relation.get("rel_type") == "m.thread":
        root = relation.get("event_id")
        return root if isinstance(root, str) else None
    return None


def _counts(recipients: int, levels: Counter[int]) -> Counts:
    return Counts(
        recipients=recipients,
        pending=levels[PENDING],
        sent=levels[SENT],
        delivered_to_instance=levels[INSTANCE],
        delivered_to_device=levels[DEVICE],
        read=levels[READ],
    )


def _least(counts: Counts, sendout: Sendout) -> int:
    """The least of all recipients; of a message to nobody, that it is here."""
    if sendout.is_held:
        return PENDING
    for level, state in enumerate(STATES):
        if getattr(counts, state):
            return level
    return SENT


def _status(least: int, counts: Counts, reason: str | None) -> Status:
    return Status(
        state=STATES[least],
        recipients=counts.recipients,
        delivered=counts.delivered_to_device + counts.read,
        read=counts.read,
        reason=reason,
    )


def _recipient(user_id: str, stage: Stage) -> RecipientStatus:
    return RecipientStatus(
        person=address(user_id),
        status=STATES[stage.level],
        at=rfc3339(stage.at) if stage.at is not None else None,
        reason=_reason(stage),
    )


def _reason(stage: Stage) -> Reason | None:
    if stage.cause is None:
        return None
    return Reason(
        code=stage.cause,
        instance=stage.instance,
        since=rfc3339(stage.since) if stage.since is not None else None,
        detail=stage.detail,
    )
