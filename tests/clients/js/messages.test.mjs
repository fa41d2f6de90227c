// What people do in rooms: threads, edits, reactions, polls, calls, receipts, typing, media.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import {
    EventType,
    M_POLL_START,
    NotificationCountType,
    RelationType,
    RoomMemberEvent,
} from "matrix-js-sdk";
import { PollEndEvent } from "matrix-js-sdk/lib/extensible_events_v1/PollEndEvent.js";
import { PollResponseEvent } from "matrix-js-sdk/lib/extensible_events_v1/PollResponseEvent.js";
import { PollStartEvent } from "matrix-js-sdk/lib/extensible_events_v1/PollStartEvent.js";
import { Person, sha256, until } from "./person.mjs";

let alice, bob;

before(async () => {
    [alice, bob] = await Promise.all([Person.come("alice"), Person.come("bob")]);
});
after(() => Person.goAll());

/** The same in a room that everybody can read and in an encrypted one. */
function inBoth(name, body) {
    for (const encrypted of [false, true]) {
        test(`${name}, ${encrypted ? "encrypted" : "in the clear"}`, async () => {
            await body(await alice.makeRoom([bob], { encrypted }));
        });
    }
}

inBoth("a thread has its replies, its latest and its count", async (roomId) => {
    const root = await alice.say(roomId, "root");
    await bob.sees(roomId, root);
    const replies = [];
    for (const [person, other, body] of [[bob, alice, "one"], [alice, bob, "two"], [bob, alice, "three"]]) {
        const eventId = await person.reply(roomId, root, body);
        await other.seesReply(roomId, root, eventId);
        replies.push([eventId, body]);
    }

    for (const person of [alice, bob]) {
        const thread = person.room(roomId).getThread(root);
        assert.equal(thread.rootEvent.getId(), root);
        for (const [eventId, body] of replies) {
            assert.equal(await person.reads(roomId, eventId), body);
            assert.ok(thread.findEventById(eventId));
        }
        const { unsigned } = await person.client.fetchRoomEvent(roomId, root);
        const summary = unsigned["m.relations"]["m.thread"];
        assert.equal(summary.count, 3);
        assert.equal(summary.latest_event.event_id, replies[2][0]);
        assert.equal(summary.current_user_participated, true);
    }
});

test("somebody who comes later finds the threads of a room", async () => {
    const roomId = await alice.makeRoom([bob]);
    const root = await alice.say(roomId, "root");
    await bob.reply(roomId, root, "reply");
    for (let n = 0; n < 35; n++) await alice.say(roomId, `more ${n}`);

    const phone = await bob.anotherDevice();
    const room = await until(() => phone.room(roomId), "the room");
    await room.createThreadsTimelineSets();
    await room.fetchRoomThreads();

    const thread = await until(() => room.getThread(root), "the thread");
    assert.equal(thread.rootEvent.getContent().body, "root");
    assert.equal(thread.length, 1);
});

inBoth("an edit shows in place of what it edits", async (roomId) => {
    const first = await alice.say(roomId, "teh");
    await bob.sees(roomId, first);

    await alice.say(roomId, "* the", {
        "m.new_content": { msgtype: "m.text", body: "the" },
        "m.relates_to": { rel_type: RelationType.Replace, event_id: first },
    });

    for (const person of [alice, bob]) {
        const event = await person.sees(roomId, first);
        await until(() => event.getContent().body === "the", "the edit");
        assert.equal(event.getOriginalContent().body, "teh");
    }
});

inBoth("reactions are counted, and one that is taken back is not", async (roomId) => {
    const liked = await alice.say(roomId, "like me");
    await bob.sees(roomId, liked);
    const react = (person, key) =>
        person.client.sendEvent(roomId, EventType.Reaction, {
            "m.relates_to": { rel_type: RelationType.Annotation, event_id: liked, key },
        });
    await react(alice, "👍");
    const { event_id: taken } = await react(bob, "👍");
    await react(bob, "🎉");
    const counts = () => {
        const relations = alice
            .room(roomId)
            .relations.getChildEventsForEvent(liked, RelationType.Annotation, EventType.Reaction);
        const sorted = relations?.getSortedAnnotationsByKey() ?? [];
        return Object.fromEntries(sorted.map(([key, events]) => [key, events.size]));
    };
    await until(() => counts()["👍"] === 2 && counts()["🎉"] === 1, "all reactions");

    await bob.client.redactEvent(roomId, taken);

    await until(() => counts()["👍"] === 1, "one reaction less");
});

inBoth("a redacted message says nothing any more", async (roomId) => {
    const gone = await alice.say(roomId, "secret");
    assert.equal(await bob.reads(roomId, gone), "secret");

    await alice.client.redactEvent(roomId, gone, undefined, { reason: "mistake" });

    const event = await bob.sees(roomId, gone);
    await until(() => event.isRedacted(), "the redaction");
    assert.deepEqual(event.getContent(), {});
    assert.equal(event.getUnsigned().redacted_because.content.reason, "mistake");
});

inBoth("a poll is answered, counted and closed", async (roomId) => {
    const start = PollStartEvent.from("Tea?", ["Yes", "No"], "m.poll.disclosed").serialize();
    const { event_id: pollId } = await alice.client.sendEvent(roomId, start.type, start.content);
    const event = await bob.sees(roomId, pollId);
    assert.ok(M_POLL_START.matches(event.getType()));
    const [yes, no] = event.getContent()[M_POLL_START.name].answers.map((answer) => answer.id);
    const answer = async (person, choice) => {
        const response = PollResponseEvent.from([choice], pollId).serialize();
        await person.client.sendEvent(roomId, response.type, response.content);
    };
    await answer(alice, yes);
    await answer(bob, no);
    await answer(bob, yes);
    const end = PollEndEvent.from(pollId, "Tea it is").serialize();
    await alice.client.sendEvent(roomId, end.type, end.content);

    const poll = await until(() => bob.room(roomId).polls.get(pollId), "the poll");
    const responses = await poll.getResponses();
    await until(() => responses.getRelations().length === 3, "the answers");
    await until(() => poll.isEnded, "its end");
    assert.equal(new Set(responses.getRelations().map((r) => r.getSender())).size, 2);
});

inBoth("the signals of a call reach the other side in their order", async (roomId) => {
    const callId = randomBytes(8).toString("hex");
    const common = { call_id: callId, party_id: alice.deviceId, version: "1" };
    const sdp = (type) => ({ type, sdp: "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n" });
    const signals = [
        [alice, EventType.CallInvite, { ...common, lifetime: 60_000, offer: sdp("offer") }],
        [alice, EventType.CallCandidates, { ...common, candidates: [{ candidate: "", sdpMid: "0" }] }],
        [bob, EventType.CallAnswer, { ...common, party_id: bob.deviceId, answer: sdp("answer") }],
        [alice, EventType.CallSelectAnswer, { ...common, selected_party_id: bob.deviceId }],
        [bob, EventType.CallHangup, { ...common, party_id: bob.deviceId, reason: "user_hangup" }],
    ];
    const sent = [];
    for (const [person, type, content] of signals) {
        sent.push((await person.client.sendEvent(roomId, type, content)).event_id);
        await (person === alice ? bob : alice).sees(roomId, sent.at(-1));
    }

    for (const person of [alice, bob]) {
        const events = [];
        for (const id of sent) events.push(await person.sees(roomId, id));
        assert.deepEqual(
            events.map((event) => event.getType()),
            signals.map(([, type]) => type),
        );
        const timeline = person.room(roomId).getLiveTimeline().getEvents();
        const order = timeline.map((event) => event.getId()).filter((id) => sent.includes(id));
        assert.deepEqual(order, sent);
    }
});

// In the clear: in encrypted rooms this client counts for itself.
test("what is unread is counted for each thread, and a receipt clears its thread alone", async () => {
    const roomId = await alice.makeRoom([bob]);
    const root = await alice.say(roomId, "root");
    const main = await alice.say(roomId, "main");
    await bob.sees(roomId, main);
    const first = await bob.reply(roomId, root, "first reply");
    const thread = await alice.seesReply(roomId, root, first);
    const reply = await alice.reply(roomId, root, "reply");
    await bob.seesReply(roomId, root, reply);
    const room = bob.room(roomId);
    const unread = () => [
        room.getRoomUnreadNotificationCount(NotificationCountType.Total),
        room.getThreadUnreadNotificationCount(root, NotificationCountType.Total),
    ];
    await until(() => String(unread()) === "2,1", `counts, not ${unread()}`);

    await bob.client.sendReadReceipt(await bob.sees(roomId, reply));
    await until(() => String(unread()) === "2,0", `the thread read, not ${unread()}`);
    await bob.client.sendReadReceipt(await bob.sees(roomId, main));
    await until(() => String(unread()) === "0,0", `all read, not ${unread()}`);

    const readers = () => alice.room(roomId).getUsersReadUpTo(alice.room(roomId).findEventById(main));
    await until(() => readers().includes(bob.id), "Bob's receipt");
    await until(() => thread.getEventReadUpTo(bob.id) === reply, "his receipt in the thread");
});

test("typing is shown and ends", async () => {
    const roomId = await alice.makeRoom([bob]);
    const seen = [];
    bob.client.on(RoomMemberEvent.Typing, (_event, member) => {
        if (member.roomId === roomId && member.userId === alice.id) seen.push(member.typing);
    });

    await alice.client.sendTyping(roomId, true, 30_000);
    await until(() => seen.at(-1) === true, "typing");
    await alice.client.sendTyping(roomId, false, 0);
    await until(() => seen.at(-1) === false, "no typing");
});

test("a file is uploaded, told of, and downloaded with a token alone", async () => {
    const roomId = await alice.makeRoom([bob]);
    const bytes = randomBytes(300_000);
    const { content_uri: uri } = await alice.client.uploadContent(bytes, {
        name: "film.bin",
        type: "application/octet-stream",
    });
    const sent = await alice.say(roomId, "film.bin", { msgtype: "m.file", url: uri });

    const event = await bob.sees(roomId, sent);
    const url = bob.client.mxcUrlToHttp(event.getContent().url, undefined, undefined, undefined, false, true, true);
    const refused = await fetch(url);
    const fetched = await fetch(url, { headers: { Authorization: `Bearer ${bob.client.getAccessToken()}` } });

    assert.equal(refused.status, 401);
    assert.equal(fetched.status, 200);
    assert.equal(sha256(Buffer.from(await fetched.arrayBuffer())), sha256(bytes));
});

test("history is read backwards to its beginning", async () => {
    const roomId = await alice.makeRoom([bob], { encrypted: true });
    const first = await alice.say(roomId, "first");
    for (let n = 0; n < 45; n++) await alice.say(roomId, `${n}`);
    await bob.sees(roomId, first);

    const phone = await alice.anotherDevice();
    const room = await until(() => phone.room(roomId), "the room");
    while (!room.findEventById(first) && room.getLiveTimeline().getPaginationToken("b")) {
        await phone.client.scrollback(room, 20);
    }

    assert.ok(room.findEventById(first));
});

test("profiles, tags, account data and presence follow", async () => {
    const roomId = await alice.makeRoom([bob]);

    await alice.client.setDisplayName("Alice in Wonderland");
    await alice.client.setRoomTag(roomId, "m.favourite", { order: 0.5 });
    await alice.client.setAccountData("dev.comity.test", { colour: "blue" });

    await until(() => bob.room(roomId).getMember(alice.id).name === "Alice in Wonderland", "the name");
    await until(() => alice.room(roomId).tags["m.favourite"]?.order === 0.5, "the tag");
    await until(() => alice.client.getAccountData("dev.comity.test")?.getContent().colour === "blue", "the data");
});
