// Rooms themselves: spaces, upgrades, invites, knocks, the directory, search.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { Direction, JoinRule, KnownMembership, RoomType } from "matrix-js-sdk";
import { Person, until } from "./person.mjs";

let alice, bob;

before(async () => {
    [alice, bob] = await Promise.all([Person.come("alice", { crypto: false }), Person.come("bob", { crypto: false })]);
});
after(() => Person.goAll());

test("a space shows its rooms to who may join them", async () => {
    const { room_id: space } = await alice.client.createRoom({
        name: "Space",
        preset: "public_chat",
        creation_content: { type: RoomType.Space },
    });
    const { room_id: child } = await alice.client.createRoom({ name: "Child", preset: "public_chat", topic: "Tea" });
    const { room_id: hidden } = await alice.client.createRoom({ name: "Hidden", preset: "private_chat" });
    for (const room of [child, hidden]) {
        await alice.client.sendStateEvent(space, "m.space.child", { via: ["one.test"] }, room);
    }

    await bob.client.joinRoom(space);
    const seen = await bob.client.getRoomHierarchy(space);
    const summary = await bob.client.getRoomSummary(child, ["one.test"]);

    assert.deepEqual(seen.rooms.map((room) => room.name).sort(), ["Child", "Space"]);
    assert.equal(seen.rooms.find((room) => room.name === "Space").children_state.length, 2);
    assert.equal(summary.topic, "Tea");
    assert.equal(summary.num_joined_members, 1);
    await until(() => bob.room(space)?.isSpaceRoom(), "the space");
});

test("a room that was upgraded leads to the next one and back", async () => {
    const roomId = await alice.makeRoom([bob], { name: "Old", preset: "public_chat" });

    const { replacement_room: next } = await alice.client.upgradeRoom(roomId, "12");

    const tombstone = await until(
        () => bob.room(roomId).currentState.getStateEvents("m.room.tombstone", ""),
        "the tombstone",
    );
    assert.equal(tombstone.getContent().replacement_room, next);
    await bob.client.joinRoom(next);
    await until(() => bob.room(next)?.name === "Old", "the next room");
    assert.equal(bob.room(next).findPredecessor().roomId, roomId);
    assert.equal(bob.room(next).getVersion(), "12");
});

test("who knocks is let in, and who was kicked out comes back when invited", async () => {
    const { room_id: roomId } = await alice.client.createRoom({
        preset: "private_chat",
        initial_state: [{ type: "m.room.join_rules", state_key: "", content: { join_rule: JoinRule.Knock } }],
    });

    await bob.client.knockRoom(roomId, { reason: "tea?" });
    await until(() => alice.room(roomId)?.getMember(bob.id)?.membership === KnownMembership.Knock, "the knock");
    await alice.client.invite(roomId, bob.id);
    await until(() => bob.room(roomId)?.getMyMembership() === KnownMembership.Invite, "the invite");
    await bob.client.joinRoom(roomId);
    await until(() => bob.room(roomId).getMyMembership() === KnownMembership.Join, "being in");
    await alice.client.kick(roomId, bob.id, "out");
    await until(() => bob.room(roomId).getMyMembership() === KnownMembership.Leave, "being out");
    await alice.client.invite(roomId, bob.id);
    await until(() => bob.room(roomId).getMyMembership() === KnownMembership.Invite, "another invite");
    await bob.client.joinRoom(roomId);

    const text = await alice.say(roomId, "welcome back");
    assert.equal(await bob.reads(roomId, text), "welcome back");
});

test("a public room is found in the directory and by its alias", async () => {
    const name = `tea-${randomBytes(4).toString("hex")}`;
    const { room_id: roomId } = await alice.client.createRoom({
        name,
        preset: "public_chat",
        visibility: "public",
        room_alias_name: name,
    });

    const found = await bob.client.publicRooms({ filter: { generic_search_term: name }, limit: 5 });
    const byAlias = await bob.client.getRoomIdForAlias(`#${name}:one.test`);

    assert.deepEqual(
        found.chunk.map((room) => [room.room_id, room.canonical_alias]),
        [[roomId, `#${name}:one.test`]],
    );
    assert.equal(byAlias.room_id, roomId);
});

test("messages are found by their words, and around a date", async () => {
    const roomId = await alice.makeRoom([bob]);
    const word = `camomile${randomBytes(4).toString("hex")}`;
    const wanted = await alice.say(roomId, `a cup of ${word}, please`);
    await alice.say(roomId, "something else");

    const found = await until(async () => {
        const answer = await bob.client.searchRoomEvents({ term: word });
        return answer.results.length > 0 && answer;
    }, "the index");
    const first = await bob.client.timestampToEvent(roomId, 0, Direction.Forward);
    const context = await bob.client.getEventTimeline(bob.room(roomId).getUnfilteredTimelineSet(), wanted);

    assert.equal(found.results[0].context.getEvent().getId(), wanted);
    assert.match(first.event_id, /^\$/);
    assert.ok(context.getEvents().some((event) => event.getId() === wanted));
});

test("people are found by their names, and ignored people are not heard", async () => {
    const roomId = await alice.makeRoom([bob]);
    const name = `Barnabas ${randomBytes(4).toString("hex")}`;
    await bob.client.setDisplayName(name);

    const found = await until(async () => {
        const { results } = await alice.client.searchUserDirectory({ term: name });
        return results.length > 0 && results;
    }, "the directory");
    await alice.client.setIgnoredUsers([bob.id]);
    await until(() => alice.client.isUserIgnored(bob.id), "ignoring");
    const unheard = await bob.say(roomId, "can you hear me?");
    const heard = await alice.say(roomId, "anybody?");
    await alice.sees(roomId, heard);

    assert.equal(found[0].user_id, bob.id);
    assert.equal(alice.room(roomId).findEventById(unheard), undefined);
    await alice.client.setIgnoredUsers([]);
});

test("power levels and state are changed, and pins are shown", async () => {
    const roomId = await alice.makeRoom([bob]);
    const pinned = await alice.say(roomId, "pin me");

    await alice.client.setPowerLevel(roomId, bob.id, 50);
    await until(() => bob.room(roomId).getMember(bob.id).powerLevel === 50, "power");
    await bob.client.setRoomTopic(roomId, "Tea");
    await bob.client.sendStateEvent(roomId, "m.room.pinned_events", { pinned: [pinned] }, "");

    const state = (type) => alice.room(roomId).currentState.getStateEvents(type, "")?.getContent();
    await until(() => state("m.room.topic")?.topic === "Tea", "the topic");
    await until(() => state("m.room.pinned_events")?.pinned[0] === pinned, "the pin");
});
