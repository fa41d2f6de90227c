"""What one connection was told: as far as its client has it for sure, and the answer after that.

A client that comes back with the latest ``pos`` has that answer; one that repeats the ``pos`` of
before has not, and gets another answer from the same state.  So nothing is lost with an answer.

Spec: MSC4186, connections.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Set
from typing import Any

import orjson
from msgspec import Struct, field

from homeserver.protocol.events import JsonObject
from homeserver.services.sliding.wanted import RequiredState, RoomConfig, StatePattern

NOTHING: frozenset[str] = frozenset()

Member = tuple[str, str, str]
"""A room, a user, and the event ID of the user's membership there."""


class Sent(Struct, frozen=True):
    """What a client was told of a room, the last time.

    ``depth``: how many of its last events the client has without a gap, at least.
    """

    membership: str
    config: RoomConfig
    depth: int
    is_dm: bool = False

    def lacks(self, config: RoomConfig) -> bool:
        """Whether a config may ask for more than was told."""
        return config.timeline_limit > self.depth or config.adds_state_to(self.config)


class Stream(Struct):
    """How far a client knows something of each room.

    ``known``: the rooms that it was told of; all that there is up to the connection's position,
    but of those ``behind`` only up to a position of their own.
    """

    known: set[str] = field(default_factory=set)
    behind: dict[str, int] = field(default_factory=dict)
    covered: Set[str] = NOTHING
    """Rooms all of which are known, as they were asked for last; not kept on disk."""

    def unknown(self, scope: Set[str]) -> set[str]:
        """Those of some rooms that the client was not told of."""
        if scope is self.covered:
            return set()
        found = set(scope - self.known)
        if not found:
            self.covered = scope
        return found


class StreamStep(Struct):
    """What an answer changes in a stream; a position of None: the room is not behind any more."""

    known: set[str] = field(default_factory=set)
    behind: dict[str, int | None] = field(default_factory=dict)


class Moment(Struct):
    """What holds at an answer as a whole."""

    position: int = 0
    typing: int = 0
    threads: int = 0
    typing_scope: Set[str] = NOTHING
    extensions: Set[str] = NOTHING
    key_counts: JsonObject | None = None
    checked: object = None
    """What was asked for, all of which was compared with what was told; not kept on disk."""


class Compared(Struct):
    """What was found when all that a client was told was gone through, so that from then on only
    what is new need be; not kept on disk.

    ``left``: which of the user's rooms there were when ``sent`` was searched for rooms that they
    have left; ``unsearched``: what was told since.  ``untold``: of the rooms that the user was in
    at ``rooms``, those that the client was not told of.  ``scope``: some rooms, those that the
    user is in, and which of the first are among the second.
    """

    left: object = None
    unsearched: set[str] = field(default_factory=set)
    rooms: Mapping[str, int] | None = None
    untold: set[str] = field(default_factory=set)
    scope: tuple[Set[str], Mapping[str, int], Set[str]] = (NOTHING, {}, NOTHING)


class State(Struct):
    """All that a client has."""

    moment: Moment = field(default_factory=Moment)
    sent: dict[str, Sent] = field(default_factory=dict)
    behind: dict[str, int] = field(default_factory=dict)
    receipts: Stream = field(default_factory=Stream)
    account_data: Stream = field(default_factory=Stream)
    compared: Compared = field(default_factory=Compared)

    @property
    def size(self) -> int:
        """How much it takes, in rooms."""
        return len(self.sent) + len(self.receipts.known) + len(self.account_data.known) + 1

    def was_told_all(self, joined: Mapping[str, int]) -> bool:
        """Whether the client was told of all rooms that its user is in."""
        if len(self.sent) < len(joined):
            return False
        compared = self.compared
        if compared.rooms is not joined:
            compared.rooms, compared.untold = joined, joined.keys() - self.sent.keys()
        return not compared.untold

    def within(self, rooms: Set[str], joined: Mapping[str, int]) -> Set[str]:
        """Those of some rooms that the user is in; the same object for the same ones."""
        known = self.compared.scope
        if known[0] is rooms and known[1] is joined:
            return known[2]
        found: Set[str] = rooms & joined.keys()
        if len(found) == len(rooms):
            found = rooms
        self.compared.scope = (rooms, joined, found)
        return found

    def apply(self, step: Step) -> None:
        """The client has an answer."""
        self.moment = step.moment
        for room_id, sent in step.sent.items():
            if sent is None:
                self.sent.pop(room_id, None)
                self.compared.rooms = None
                continue
            if room_id not in self.sent:
                self.compared.unsearched.add(room_id)
                self.compared.untold.discard(room_id)
            self.sent[room_id] = sent
        _move(self.behind, step.behind)
        for stream, change in (
            (self.receipts, step.receipts),
            (self.account_data, step.account_data),
        ):
            stream.known |= change.known
            _move(stream.behind, change.behind)


class Step(Struct):
    """What an answer adds to what the client has.  In ``sent``, None: begin anew with the room.

    ``members``: the member events that it bears; not kept on disk.
    """

    moment: Moment
    sent: dict[str, Sent | None] = field(default_factory=dict)
    behind: dict[str, int | None] = field(default_factory=dict)
    receipts: StreamStep = field(default_factory=StreamStep)
    account_data: StreamStep = field(default_factory=StreamStep)
    members: list[Member] = field(default_factory=list)


def in_both(behind: Mapping[str, int], rooms: Set[str]) -> list[str]:
    """The rooms that are behind, of some rooms; costs no more than the fewer of the two."""
    if len(behind) <= len(rooms):
        return [room_id for room_id in behind if room_id in rooms]
    return [room_id for room_id in rooms if room_id in behind]


def _move(behind: dict[str, int], changes: Mapping[str, int | None]) -> None:
    for room_id, position in changes.items():
        if position is None:
            behind.pop(room_id, None)
        else:
            behind[room_id] = position


class Connection:
    """One connection of a device."""

    def __init__(self) -> None:
        self.state = State()
        self.nonce = secrets.token_hex(4)
        self.number = 0
        self.pos: str | None = None
        self.next_pos: str | None = None
        self.step: Step | None = None
        self.acknowledged = 0
        """The number of the last answer that the client has."""
        self.is_behind = True
        """Whether there were answers after it, which the client does not have."""
        self.turn = 0
        """Counts requests: of two at once only the later one may move the connection on."""

    def resume(self, pos: str | None) -> bool:
        """A client comes with a ``pos``; whether it is one of this connection's."""
        if pos is not None and pos == self.next_pos and self.step is not None:
            self.state.apply(self.step)
            self.pos, self.next_pos, self.step = pos, None, None
            self.acknowledged, self.is_behind = self.number, False
            return True
        if pos == self.pos:
            self.is_behind = self.step is not None or self.acknowledged == 0
            self.next_pos, self.step = None, None
            return True
        return False

    def answer(self, step: Step) -> str:
        """An answer is sent: the ``pos`` by which the client will say that it has it."""
        self.number += 1
        self.step = step
        self.next_pos = f"p{step.moment.position}_{self.number}_{self.nonce}"
        return self.next_pos

    # ------------------------------------------------------------ on disk

    def dump(self) -> bytes:
        """The connection as JSON."""
        table = _Table()
        state = self.state
        body: JsonObject = {
            "nonce": self.nonce,
            "number": self.number,
            "acknowledged": self.acknowledged,
            "pos": self.pos,
            "next_pos": self.next_pos,
            "moment": _dump_moment(state.moment),
            "sent": table.dump(state.sent),
            "behind": state.behind,
            "receipts": [list(state.receipts.known), state.receipts.behind],
            "account_data": [list(state.account_data.known), state.account_data.behind],
        }
        step = self.step
        if step is not None:
            body["step"] = {
                "moment": _dump_moment(step.moment),
                "sent": table.dump(step.sent),
                "behind": step.behind,
                "receipts": [list(step.receipts.known), step.receipts.behind],
                "account_data": [list(step.account_data.known), step.account_data.behind],
            }
        body["kinds"] = table.rows
        return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)  # keys are checked identifiers

    @classmethod
    def load(cls, text: bytes) -> Connection:
        """A connection that was put away.

        Raises :class:`KeyError`, :class:`TypeError`, :class:`ValueError` for what is none, as
        another version of this server may have written it.
        """
        body = orjson.loads(text)
        kinds = [_load_sent(kind) for kind in body["kinds"]]
        connection = cls()
        connection.nonce, connection.number = body["nonce"], body["number"]
        connection.acknowledged = body["acknowledged"]
        connection.pos, connection.next_pos = body["pos"], body["next_pos"]
        connection.state = State(
            _load_moment(body["moment"]),
            {room_id: kinds[kind] for room_id, kind in body["sent"].items()},
            body["behind"],
            Stream(set(body["receipts"][0]), body["receipts"][1]),
            Stream(set(body["account_data"][0]), body["account_data"][1]),
        )
        step = body.get("step")
        if step is not None:
            connection.step = Step(
                _load_moment(step["moment"]),
                {
                    room_id: None if kind is None else kinds[kind]
                    for room_id, kind in step["sent"].items()
                },
                step["behind"],
                StreamStep(set(step["receipts"][0]), step["receipts"][1]),
                StreamStep(set(step["account_data"][0]), step["account_data"][1]),
            )
        return connection


class _Table:
    """What rooms were told, each kind once: most rooms are alike."""

    def __init__(self) -> None:
        self._numbers: dict[Sent, int] = {}
        self.rows: list[Any] = []

    def dump(self, sent: Mapping[str, Sent] | Mapping[str, Sent | None]) -> dict[str, int | None]:
        return {
            room_id: None if kind is None else self._number(kind) for room_id, kind in sent.items()
        }

    def _number(self, kind: Sent) -> int:
        number = self._numbers.get(kind)
        if number is None:
            number = self._numbers[kind] = len(self.rows)
            self.rows.append(_dump_sent(kind))
        return number


def _dump_sent(sent: Sent) -> list[Any]:
    required = [
        [
            [[pattern.type, pattern.state_key] for pattern in one.include],
            [[pattern.type, pattern.state_key] for pattern in one.exclude],
            one.lazy_members,
        ]
        for one in sent.config.required
    ]
    return [sent.membership, sent.config.timeline_limit, required, sent.depth, sent.is_dm]


def _load_sent(row: list[Any]) -> Sent:
    membership, timeline_limit, required, depth, is_dm = row
    states = frozenset(
        RequiredState(
            frozenset(StatePattern(*pattern) for pattern in include),
            frozenset(StatePattern(*pattern) for pattern in exclude),
            lazy,
        )
        for include, exclude, lazy in required
    )
    return Sent(membership, RoomConfig(timeline_limit, states), depth, is_dm)


def _dump_moment(moment: Moment) -> list[Any]:
    return [
        moment.position,
        moment.typing,
        moment.threads,
        list(moment.typing_scope),
        list(moment.extensions),
        moment.key_counts,
    ]


def _load_moment(row: list[Any]) -> Moment:
    position, typing, threads, typing_scope, extensions, key_counts = row
    return Moment(
        position, typing, threads, frozenset(typing_scope), frozenset(extensions), key_counts
    )
