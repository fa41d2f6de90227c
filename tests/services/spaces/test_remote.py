"""Rooms of a space that other instances tell of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
import pytest_asyncio

from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.services.directory import Directory
from homeserver.services.rooms import Draft
from homeserver.services.spaces.hierarchy import Hierarchies, HierarchyQuery
from homeserver.services.spaces.local import LocalRooms
from homeserver.services.spaces.summaries import Summaries
from homeserver.services.spaces.summary import RemoteSpace, parse_remote_space, parse_summary
from homeserver.storage.database import Database
from homeserver.storage.rooms import MembershipRow
from tests.services.room_world import RoomWorld

QUERY = HierarchyQuery()
THERE = "!there:two.test"


def summary(room_id: str, **more: object) -> JsonObject:
    """What another instance says of a public room."""
    plain = {"num_joined_members": 1, "world_readable": False, "guest_can_join": False}
    return {"room_id": room_id, "join_rule": "public", **plain, **more}


def child(room_id: str, **content: object) -> JsonObject:
    """An entry of ``children_state``."""
    return {
        "type": "m.space.child",
        "state_key": room_id,
        "sender": "@bo:two.test",
        "origin_server_ts": 1,
        "content": {"via": ["two.test"], **content},
    }


class Elsewhere:
    """Other instances: what they answer, and what they were asked."""

    def __init__(self) -> None:
        self.answers: dict[str, JsonObject] = {}
        self.asked: list[str] = []

    def tell(
        self,
        room: JsonObject,
        children: Sequence[JsonObject] = (),
        *summaries: JsonObject,
        inaccessible: Sequence[str] = (),
    ) -> None:
        self.answers[room["room_id"]] = {
            "room": {**room, "children_state": list(children)},
            "children": list(summaries),
            "inaccessible_children": list(inaccessible),
        }

    async def space(self, room_id: str, servers: Sequence[str]) -> RemoteSpace | None:
        if room_id not in self.asked:
            self.asked.append(room_id)
        answer = self.answers.get(room_id) if "two.test" in servers else None
        return parse_remote_space(room_id, answer) if answer is not None else None


class AllInvites:
    """Shows every invite."""

    async def shown_invites(
        self, user_id: str, rows: Mapping[str, MembershipRow], since: int | None
    ) -> Mapping[str, tuple[MembershipRow, bool]]:
        return {room_id: (row, False) for room_id, row in rows.items()}


class Spaces:
    """A server with a space of its own, and other instances."""

    def __init__(self, world: RoomWorld) -> None:
        self.world = world
        self.elsewhere = Elsewhere()
        nowhere: Any = None
        self.now = 0.0
        local = LocalRooms(
            database=world.database,
            invites=AllInvites(),
            rooms=world.rooms,
            store=world.store,
            descriptions=Directory(
                server_name=world.server_name,
                database=world.database,
                rooms=world.rooms,
                store=world.store,
                remote=nowhere,
            ),
        )
        self.hierarchies = Hierarchies(
            database=world.database,
            local=local,
            remote=self.elsewhere,
            clock=lambda: self.now,
        )
        self.summaries = Summaries(
            database=world.database,
            local=local,
            remote=self.elsewhere,
            hierarchies=self.hierarchies,
        )
        self.ada, self.bob = world.user("ada"), world.user("bob")

    async def space(self, *children: str) -> str:
        room_id = await self.world.room(
            self.ada, preset="public_chat", creation_content={"type": "m.space"}
        )
        for number, child_id in enumerate(children):
            content = {"via": ["two.test"], "order": str(number)}
            draft = Draft(self.ada, "m.space.child", content, child_id)
            await self.world.rooms.send(room_id, draft)
        return room_id

    async def tree(self, user_id: str, room_id: str) -> list[str]:
        page = await self.hierarchies.page(user_id, room_id, QUERY, None)
        return [room["room_id"] for room in page["rooms"]]


@pytest_asyncio.fixture
async def spaces(database: Database) -> AsyncIterator[Spaces]:
    world = RoomWorld(database)
    await world.start()
    yield Spaces(world)
    await world.close()


async def test_rooms_of_other_instances_are_found_below_theirs_and_ours(spaces: Spaces) -> None:
    root = await spaces.space(THERE, "!silent:two.test")
    below, deeper = "!below:two.test", "!deeper:two.test"
    spaces.elsewhere.tell(
        summary(THERE, room_type="m.space"),
        [child(below), child(root)],
        summary(below, room_type="m.space"),
    )
    spaces.elsewhere.tell(
        summary(below, room_type="m.space"), [child(deeper), child(THERE)], summary(deeper)
    )

    found = await spaces.tree(spaces.bob, root)

    assert found == [root, THERE, below, deeper]
    assert deeper not in spaces.elsewhere.asked  # what was told of it suffices


async def test_what_we_know_ourselves_goes_before_what_others_say(spaces: Spaces) -> None:
    private = await spaces.world.room(spaces.ada, preset="private_chat", name="Ours")
    root = await spaces.space(THERE)
    spaces.elsewhere.tell(
        summary(THERE, room_type="m.space"),
        [child(private)],
        summary(private, name="Theirs"),
        inaccessible=[private],
    )

    of_ada = await spaces.hierarchies.page(spaces.ada, root, QUERY, None)

    assert [room.get("name") for room in of_ada["rooms"]] == [None, None, "Ours"]
    assert await spaces.tree(spaces.bob, root) == [root, THERE]


async def test_what_several_others_hide_is_looked_at_and_shown_once(
    spaces: Spaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = await spaces.world.room(spaces.ada, preset="private_chat")
    others = [THERE, "!second:two.test", "!third:two.test"]
    root = await spaces.space(*others)
    for room_id in others:
        room = summary(room_id, room_type="m.space")
        spaces.elsewhere.tell(room, [child(private)], inaccessible=[private])
    find = spaces.hierarchies._local.find
    looked: list[str] = []

    async def counting(room_id: str) -> Any:
        looked.append(room_id)
        return await find(room_id)

    of_ada = await spaces.tree(spaces.ada, root)
    monkeypatch.setattr(spaces.hierarchies._local, "find", counting)
    query, token, of_bob = HierarchyQuery(limit=1), None, []
    while True:
        page = await spaces.hierarchies.page(spaces.bob, root, query, token)
        of_bob += [room["room_id"] for room in page["rooms"]]
        token = page.get("next_batch")
        if token is None:
            break

    assert of_ada == [root, THERE, private, *others[1:]]
    assert of_bob == [root, *others]
    assert looked.count(private) == 1


async def test_what_one_hides_another_may_show(spaces: Spaces) -> None:
    root = await spaces.space(THERE, "!second:two.test")
    for room_id, told in ((THERE, ()), ("!second:two.test", (summary("!a:two.test"),))):
        spaces.elsewhere.tell(
            summary(room_id, room_type="m.space"),
            [child("!a:two.test")],
            *told,
            inaccessible=() if told else ["!a:two.test"],
        )

    assert await spaces.tree(spaces.bob, root) == [root, THERE, "!second:two.test", "!a:two.test"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"join_rule": "invite"}, False),
        ({"join_rule": "knock_restricted"}, True),
        ({"join_rule": "invite", "world_readable": True}, True),
        ({"join_rule": "restricted", "allowed_room_ids": ["!other:two.test"]}, False),
        ({"join_rule": "restricted", "allowed_room_ids": ["ROOT"]}, True),
    ],
)
async def test_what_others_tell_is_shown_to_those_who_may_see_it(
    spaces: Spaces, said: dict[str, Any], shown: bool
) -> None:
    root = await spaces.space(THERE)
    if said.get("allowed_room_ids") == ["ROOT"]:
        said = {**said, "allowed_room_ids": [root]}
    spaces.elsewhere.tell(summary(THERE, **said))

    found = await spaces.tree(spaces.ada, root)

    assert (THERE in found) is shown


async def test_rooms_that_their_instance_calls_inaccessible_are_not_asked_for(
    spaces: Spaces,
) -> None:
    root = await spaces.space(THERE)
    spaces.elsewhere.tell(
        summary(THERE, room_type="m.space"),
        [child("!secret:two.test"), child("!unknown:two.test")],
        inaccessible=["!secret:two.test"],
    )

    await spaces.tree(spaces.ada, root)

    assert spaces.elsewhere.asked == [THERE, "!unknown:two.test"]


async def test_a_space_of_another_instance_is_walked_by_its_room_id(spaces: Spaces) -> None:
    spaces.elsewhere.tell(summary(THERE, room_type="m.space"), [child("!a:two.test")])

    assert await spaces.tree(spaces.ada, THERE) == [THERE]
    with pytest.raises(Forbidden):
        await spaces.tree(spaces.ada, "!nothing:two.test")


async def test_a_remote_room_is_summed_up_for_those_who_may_see_it(spaces: Spaces) -> None:
    spaces.elsewhere.tell(summary(THERE, name="There"))
    spaces.elsewhere.tell(summary("!closed:two.test", join_rule="invite"))

    found = await spaces.summaries.summary(spaces.ada, THERE, [])

    assert found == {**summary(THERE, name="There"), "membership": "leave"}
    assert await spaces.summaries.summary(None, THERE, []) == summary(THERE, name="There")
    for user_id in (None, spaces.ada):
        with pytest.raises(NotFound):
            await spaces.summaries.summary(user_id, "!closed:two.test", [])


async def test_other_instances_are_told_of_what_their_users_may_see(spaces: Spaces) -> None:
    root = await spaces.space()
    public = await spaces.world.room(spaces.ada, preset="public_chat")
    private = await spaces.world.room(spaces.ada, preset="private_chat")
    for room_id in (public, private, "!elsewhere:two.test"):
        draft = Draft(spaces.ada, "m.space.child", {"via": ["one.test"]}, room_id)
        await spaces.world.rooms.send(root, draft)

    answer = await spaces.hierarchies.for_server("two.test", root, suggested_only=False)
    suggested = await spaces.hierarchies.for_server("two.test", root, suggested_only=True)

    assert [room["room_id"] for room in answer["children"]] == [public]
    assert "children_state" not in answer["children"][0]
    assert answer["inaccessible_children"] == [private]
    assert len(answer["room"]["children_state"]) == 3
    assert (suggested["children"], suggested["room"]["children_state"]) == ([], [])
    with pytest.raises(NotFound):
        await spaces.hierarchies.for_server("two.test", private, suggested_only=False)


async def test_an_answer_to_another_instance_has_no_more_children_than_it_has_room_for(
    spaces: Spaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = await spaces.space(THERE, "!other:two.test", "!more:two.test")
    monkeypatch.setattr("homeserver.services.spaces.hierarchy.MOST_CHILD_BYTES", 400)

    answer = await spaces.hierarchies.for_server("two.test", root, suggested_only=False)

    assert [child["state_key"] for child in answer["room"]["children_state"]] == [
        THERE,
        "!other:two.test",
    ]


async def test_a_later_page_ends_in_time_though_nobody_answers(
    spaces: Spaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [f"!{number}:two.test" for number in range(30)]
    root = await spaces.space(*silent)
    query = HierarchyQuery(limit=1)
    first = await spaces.hierarchies.page(spaces.ada, root, query, None)

    async def slow(room_id: str, servers: Sequence[str]) -> None:
        spaces.elsewhere.asked.append(room_id)
        spaces.now += 30

    monkeypatch.setattr(spaces.elsewhere, "space", slow)
    second = await spaces.hierarchies.page(spaces.ada, root, query, first["next_batch"])
    asked = len(set(spaces.elsewhere.asked))
    third = await spaces.hierarchies.page(spaces.ada, root, query, second["next_batch"])

    assert (second["rooms"], third["rooms"]) == ([], [])
    assert asked <= 8
    assert len(set(spaces.elsewhere.asked)) > asked


async def test_walks_that_are_kept_are_bounded_and_the_oldest_goes(
    spaces: Spaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeserver.services.spaces.hierarchy.KEPT_STEPS", 5)
    root = await spaces.space(THERE, "!other:two.test")
    query = HierarchyQuery(limit=1)
    tokens = [
        (await spaces.hierarchies.page(spaces.ada, root, query, None))["next_batch"]
        for _ in range(2)
    ]

    await spaces.hierarchies.page(spaces.ada, root, query, tokens[1])

    with pytest.raises(InvalidParam):
        await spaces.hierarchies.page(spaces.ada, root, query, tokens[0])


async def test_a_walk_has_an_end(spaces: Spaces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeserver.services.spaces.hierarchy.MOST_ROOMS", 3)
    others = [f"!{number}:two.test" for number in range(9)]
    for room_id in others:
        spaces.elsewhere.tell(summary(room_id))
    root = await spaces.space(*others)

    page = await spaces.hierarchies.page(spaces.ada, root, QUERY, None)

    assert [room["room_id"] for room in page["rooms"]] == [root, *others[:2]]
    assert "next_batch" not in page


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"room_id": "no", "num_joined_members": 1},
        {"room_id": THERE},
        {"room_id": THERE, "num_joined_members": True},
        {"room_id": THERE, "num_joined_members": "1"},
    ],
)
def test_a_summary_without_its_form_is_none(given: Any) -> None:
    assert parse_summary(given) is None


def test_only_what_has_the_right_form_is_taken_from_an_answer() -> None:
    room = summary(THERE, name=7, topic="T", allowed_room_ids=["x", 1], room_type="m.space")
    broken = [
        child("no room ID"),
        child("!a:two.test", via=[]),
        child("!a:two.test", via="two.test"),
        {**child("!a:two.test"), "origin_server_ts": "1"},
        "child",
        child("!b:two.test", order="\x7f"),
        child("!c:two.test", order="z"),
    ]
    answer = {"room": {**room, "children_state": broken}, "children": [1], "x": 1}

    space = parse_remote_space(THERE, answer)

    assert space is not None
    assert space.room == summary(THERE, topic="T", room_type="m.space")
    assert [c.room_id for c in space.children_state] == ["!c:two.test", "!b:two.test"]
    assert parse_remote_space("!else:two.test", answer) is None
