"""Extensions: what an answer bears besides rooms.

Spec: MSC4508 (common semantics, typing), MSC4538 (to-device), MSC4543 (encryption); MSC3959
(account data), MSC3960 (receipts).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set

from msgspec import Struct, field

from homeserver.errors import InvalidParam
from homeserver.protocol.events import JsonObject
from homeserver.protocol.filters import EMPTY_FILTER
from homeserver.services.recent_timeline import RecentTimeline
from homeserver.services.sliding.connection import State, Step, Stream, StreamStep, in_both
from homeserver.services.sliding.request import ExtensionRequest, SlidingRequest
from homeserver.services.sliding.room_news import RoomNews
from homeserver.services.sync import heard
from homeserver.services.sync_extras import SyncExtras
from homeserver.services.sync_token import SyncToken
from homeserver.services.visibility import Withheld
from homeserver.storage.account_data import PUSH_RULES

LONGEST_NUMBER = 18


class Scope(Struct, frozen=True):
    """The rooms that the rules of a request show."""

    lists: Mapping[str, Set[str]]
    subscriptions: Set[str]
    joined: Mapping[str, int]

    def of(self, extension: ExtensionRequest) -> Set[str]:
        """The rooms that an extension is about.  Spec: MSC4508, per-room extensions."""
        names = self.lists.keys() if extension.lists is None else extension.lists
        parts = [self.lists[name] for name in names if name in self.lists]
        if extension.rooms is None:
            parts.append(self.subscriptions)
        else:
            parts.append(self.subscriptions & extension.rooms)
        parts = [part for part in parts if part]
        return parts[0] if len(parts) == 1 else frozenset().union(*parts)


class Told(Struct):
    """What the extensions of one answer say, and whether any of it is new."""

    sections: JsonObject = field(default_factory=dict)
    is_news: bool = False


class Around(Struct, frozen=True):
    """What an answer is about.

    ``position``: up to where the client has everything; None in a first answer.
    """

    user_id: str
    device_id: str | None
    position: int | None
    upto: int
    withheld: Withheld
    state: State
    scope: Scope
    news: RoomNews

    def joined_of(self, extension: ExtensionRequest) -> Set[str]:
        """The rooms that an extension is about and that the user is in."""
        return self.state.within(self.scope.of(extension), self.scope.joined)


class Extensions:
    """Answers extensions."""

    def __init__(self, *, extras: SyncExtras, recent: RecentTimeline) -> None:
        self._extras = extras
        self._recent = recent

    async def acknowledge(self, request: SlidingRequest) -> None:
        """The device has the to-device messages up to its token.  Raises :class:`InvalidParam`."""
        wanted = request.extensions.get("to_device")
        device_id = request.requester.device_id
        if wanted is not None and wanted.since is not None and device_id is not None:
            since = self._since(wanted)
            token = SyncToken(since, to_device=since)
            await self._extras.acknowledge((request.requester.user_id, device_id), token)

    async def answer(self, request: SlidingRequest, around: Around, step: Step) -> Told:
        """The sections of an answer; what the client knows then goes into the step."""
        told = Told()
        wanted = request.extensions
        step.moment.extensions = frozenset(wanted)
        await self._to_device(wanted.get("to_device"), around, told, request.legacy)
        await self._encryption(wanted.get("e2ee"), around, step, told)
        await self._account_data(wanted.get("account_data"), around, step, told)
        await self._receipts(wanted.get("receipts"), around, step, told)
        await self._typing(wanted.get("typing"), around, step, told)
        await self._ended(wanted.get("dev.comity.ended"), around, told)
        return told

    # ------------------------------------------------------------ of the device

    def _since(self, wanted: ExtensionRequest) -> int:
        text = wanted.since
        if text is None:
            return 0
        if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER):
            raise InvalidParam("'since' is not a token of this server")
        return min(int(text), self._recent.position)  # more, if a backup was restored meanwhile

    async def _to_device(
        self, wanted: ExtensionRequest | None, around: Around, told: Told, legacy: bool
    ) -> None:
        if wanted is None or around.device_id is None:
            return
        after = self._since(wanted)
        batch = await self._extras.to_device(
            (around.user_id, around.device_id),
            SyncToken(after, to_device=after) if wanted.since is not None else None,
            around.upto,
            wanted.limit,
        )
        if batch is not None:
            # Passed on though nothing is left of it: what comes after it must not wait.
            events = heard(batch.events, around.withheld)
            told.sections[wanted.name] = {"next_batch": str(batch.position), "events": events}
            told.is_news = True
        elif legacy:
            told.sections[wanted.name] = {"next_batch": str(max(after, around.upto)), "events": []}

    async def _encryption(
        self, wanted: ExtensionRequest | None, around: Around, step: Step, told: Told
    ) -> None:
        if wanted is None or around.device_id is None:
            return
        section: JsonObject = {}
        before = around.state.moment
        goes_on = around.position is not None and "e2ee" in before.extensions
        if goes_on and around.position is not None:
            lists = await self._extras.device_lists(
                around.user_id, around.scope.joined, around.position, around.upto
            )
            if lists is not None:
                section["device_lists"] = lists
        counts = await self._extras.key_counts((around.user_id, around.device_id))
        keys = {
            "device_one_time_keys_count": dict(counts.one_time_keys),
            "device_unused_fallback_key_types": list(counts.unused_fallback_algorithms),
        }
        step.moment.key_counts = keys
        if section or not goes_on or keys != before.key_counts:
            told.sections[wanted.name] = section | keys
            told.is_news = True

    # ------------------------------------------------------------ account data

    async def _account_data(
        self, wanted: ExtensionRequest | None, around: Around, step: Step, told: Told
    ) -> None:
        stream, user_id, position = around.state.account_data, around.user_id, around.position
        if wanted is None and not stream.known:
            return
        changed: Mapping[str, list[JsonObject]] = {}
        if position is not None:
            changed = await self._extras.account_data(user_id, position, around.upto)
        scope = around.scope.of(wanted) if wanted is not None else frozenset()
        new = _follow(stream, step.account_data, scope, changed, position)
        if wanted is None:
            return
        again = set(in_both(stream.behind, scope))
        whole = [*new, *again, *(around.news.fresh & scope)]
        anew = "account_data" not in around.state.moment.extensions
        found = {r: e for r, e in changed.items() if r and r in scope and r in stream.known}
        own = changed.get("", [])
        if anew:
            whole.append("")
        if whole:
            read = await self._extras.room_account_data(user_id, whole)
            if anew:
                own = read.pop("", [])
                if not any(event["type"] == PUSH_RULES for event in own):
                    own.append(self._extras.push_rules_event(user_id))
            found.update(read)
        section: JsonObject = {}
        if own:
            section["global"] = own
        if found:
            section["rooms"] = found
        if section:
            told.sections[wanted.name] = section
            told.is_news = True

    # ------------------------------------------------------------ ephemeral events

    async def _receipts(
        self, wanted: ExtensionRequest | None, around: Around, step: Step, told: Told
    ) -> None:
        stream, user_id, position = around.state.receipts, around.user_id, around.position
        if wanted is None and not stream.known:
            return
        scope = around.joined_of(wanted) if wanted is not None else frozenset()
        changed: Collection[str] = ()
        if position is not None:
            moved = self._extras.receipt_rooms(user_id, around.scope.joined, position)
            changed = [room_id for room_id in moved if room_id in stream.known]
        new = _follow(stream, step.receipts, scope, changed, position)
        if wanted is None:
            return
        new |= around.news.fresh & scope
        again = {r: stream.behind[r] for r in in_both(stream.behind, scope) if r not in new}
        live = [r for r in changed if r in scope and r not in new and r not in again]
        found: dict[str, JsonObject] = {}
        for rooms, since in ((live, position), (again, min(again.values(), default=0))):
            if rooms and since is not None:
                found.update(
                    await self._extras.receipts(
                        user_id, rooms, (), since, around.upto, EMPTY_FILTER
                    )
                )
        shown = around.news.shown
        whole = new | (shown.keys() & scope)
        if whole:
            read = await self._extras.receipts(user_id, (), whole, None, around.upto, EMPTY_FILTER)
            for room_id, event in read.items():
                content = _of_events(event["content"], shown.get(room_id), user_id)
                if room_id in found:  # what moved is told whatever it is of
                    content = {**found[room_id]["content"], **content}
                if content:
                    found[room_id] = {**event, "content": content}
        self._add_rooms(wanted, found, told)

    async def _typing(
        self, wanted: ExtensionRequest | None, around: Around, step: Step, told: Told
    ) -> None:
        if wanted is None:
            return
        before = around.state.moment
        scope = around.joined_of(wanted)
        step.moment.typing_scope = scope
        entered: Set[str] = scope
        if around.position is not None:
            is_same = scope is before.typing_scope
            entered = frozenset() if is_same else scope - before.typing_scope
        found = await self._extras.typing_events(
            around.user_id,
            scope,
            entered,
            before.typing if around.position is not None else None,
            EMPTY_FILTER,
        )
        self._add_rooms(wanted, found, told)

    async def _ended(self, wanted: ExtensionRequest | None, around: Around, told: Told) -> None:
        """Comity's own: which messages ended without a redaction.  See ``docs/retention.md``."""
        if wanted is None or around.position is None:
            return
        scope = around.joined_of(wanted)
        behind = [around.state.behind[r] for r in in_both(around.state.behind, scope)]
        since = min((around.position, *behind))
        self._add_rooms(
            wanted,
            await self._extras.erasures(scope, since, around.upto, EMPTY_FILTER),
            told,
        )

    def _add_rooms(
        self, wanted: ExtensionRequest, found: Mapping[str, JsonObject], told: Told
    ) -> None:
        if found:
            told.sections[wanted.name] = {"rooms": found}
            told.is_news = True


def _follow(
    stream: Stream,
    step: StreamStep,
    scope: Set[str],
    changed: Collection[str],
    position: int | None,
) -> set[str]:
    """Move a stream on: what is in scope is told of now, what else has changed stays behind.

    The rooms in scope of which the client knows nothing.
    """
    new = stream.unknown(scope)
    step.known |= new
    for room_id in in_both(stream.behind, scope):
        step.behind[room_id] = None
    if position is not None:
        for room_id in changed:
            if room_id in stream.known and room_id not in scope and room_id not in stream.behind:
                step.behind[room_id] = position
    return new


def _of_events(content: JsonObject, event_ids: Collection[str] | None, user_id: str) -> JsonObject:
    """Of receipts those of some events, and the user's own; all, where the events are not known.

    Spec: MSC3960.
    """
    if event_ids is None:
        return content
    found: JsonObject = {}
    for event_id, by_type in content.items():
        if event_id in event_ids:
            found[event_id] = by_type
            continue
        own = {
            kind: {user_id: readers[user_id]}
            for kind, readers in by_type.items()
            if user_id in readers
        }
        if own:
            found[event_id] = own
    return found
