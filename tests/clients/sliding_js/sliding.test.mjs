// People who sync with matrix-js-sdk's SlidingSync, and its Rust crypto, against a running instance.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";

// matrix-js-sdk is made for Node 22; this is all of it that Node 20 lacks.
Promise.withResolvers ??= () => {
    const parts = {};
    parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
    return parts;
};
const sdk = await import("matrix-js-sdk");
const { SlidingSync, SlidingSyncEvent } = await import("matrix-js-sdk/lib/sliding-sync.js");
const { logger } = await import("matrix-js-sdk/lib/logger.js");

const BASE_URL = process.env.COMITY_URL.replace(/\/$/, "");
const PATIENCE_MS = 30_000;
const STATE = [
    ["m.room.create", ""],
    ["m.room.name", ""],
    ["m.room.topic", ""],
    ["m.room.power_levels", ""],
    ["m.room.encryption", ""],
    ["m.room.history_visibility", ""],
    ["m.room.member", "$ME"],
    ["m.room.member", "$LAZY"],
];

if (!process.env.COMITY_VERBOSE) {
    logger.setLevel("silent", false);
    for (const name of ["debug", "info", "log", "warn", "error"]) console[name] = () => {};
}

/** What `look` finds, as soon as it finds something. */
async function until(look, what) {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
        const found = await look();
        if (found) return found;
        if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 15));
    }
}

class Person {
    static everybody = [];

    static async come(name, { last = 19 } = {}) {
        const door = sdk.createClient({ baseUrl: BASE_URL });
        const login = await door.registerRequest({
            username: `${name}-${randomBytes(4).toString("hex")}`,
            password: "sesame",
            auth: { type: "m.login.dummy" },
        });
        const client = sdk.createClient({
            baseUrl: BASE_URL,
            userId: login.user_id,
            deviceId: login.device_id,
            accessToken: login.access_token,
        });
        await client.initRustCrypto({ useIndexedDB: false });
        const person = new Person(client);
        person.client = client;
        person.lists = new Map([
            ["all", { ranges: [[0, last]], required_state: STATE, timeline_limit: 10 }],
        ]);
        Person.everybody.push(person);
        return person;
    }

    async sync() {
        const subscription = { required_state: STATE, timeline_limit: 30 };
        this.sliding = new SlidingSync(BASE_URL, this.lists, subscription, this.client, 10_000);
        this.sliding.on(SlidingSyncEvent.Lifecycle, (_state, answer) => {
            if (answer) this.answers = (this.answers ?? 0) + 1;
        });
        await this.client.startClient({ slidingSync: this.sliding, threadSupport: true });
        await until(() => this.client.isInitialSyncComplete() || this.answers, "a first answer");
    }

    room(roomId) {
        return until(() => this.client.getRoom(roomId), `a room of ${this.client.getUserId()}`);
    }

    async texts(roomId) {
        const room = await this.room(roomId);
        const events = room.getLiveTimeline().getEvents();
        return events.filter((e) => e.getType() === "m.room.message").map((e) => e.getContent().body);
    }

    async sees(roomId, text) {
        return until(async () => (await this.texts(roomId)).includes(text), `"${text}"`);
    }
}

let alice, bob;

before(async () => {
    alice = await Person.come("alice");
    bob = await Person.come("bob");
    await alice.sync();
    await bob.sync();
});

after(() => {
    for (const person of Person.everybody) person.client.stopClient();
});

async function shared(options = {}) {
    const { room_id: roomId } = await alice.client.createRoom({
        preset: "private_chat",
        invite: [bob.client.getUserId()],
        ...options,
    });
    const room = await bob.room(roomId);
    await until(() => room.getMyMembership() === "invite", "the invite");
    await bob.client.joinRoom(roomId);
    await until(() => room.currentState.getStateEvents("m.room.create", ""), "the joined room");
    for (const each of [room, await alice.room(roomId)]) {
        await until(
            () => each.getMember(bob.client.getUserId())?.membership === "join",
            "the newcomer",
        );
    }
    return roomId;
}

test("an invite arrives with its name, is taken up, and people talk", async () => {
    const roomId = await shared({ name: "Tea room", topic: "Tea" });

    await alice.client.sendTextMessage(roomId, "Is there tea?");
    await bob.sees(roomId, "Is there tea?");
    await bob.client.sendTextMessage(roomId, "There is.");
    await alice.sees(roomId, "There is.");

    const room = await bob.room(roomId);
    assert.equal(room.name, "Tea room");
    assert.equal(room.getJoinedMemberCount(), 2);
    assert.equal(room.currentState.getStateEvents("m.room.topic", "").getContent().topic, "Tea");
    await until(() => room.getMember(alice.client.getUserId())?.rawDisplayName, "who wrote");
});

test("what is encrypted is read, its keys having come by the extensions", async () => {
    const roomId = await shared({
        initial_state: [
            {
                type: "m.room.encryption",
                state_key: "",
                content: { algorithm: "m.megolm.v1.aes-sha2" },
            },
        ],
    });
    await until(() => alice.client.getCrypto().isEncryptionEnabledInRoom(roomId), "encryption");

    await alice.client.sendTextMessage(roomId, "Between us.");
    await bob.sees(roomId, "Between us.");
    await bob.client.sendTextMessage(roomId, "Of course.");
    await alice.sees(roomId, "Of course.");

    const sent = (await alice.room(roomId)).getLiveTimeline().getEvents().at(-1);
    assert.equal(sent.getWireType(), "m.room.encrypted");
});

test("typing, receipts, tags and unread counts arrive", async () => {
    const roomId = await shared({ name: "Signs" });
    const sent = await alice.client.sendTextMessage(roomId, "Seen?");
    await bob.sees(roomId, "Seen?");
    const theirs = await bob.room(roomId);
    await until(() => theirs.getUnreadNotificationCount() === 1, "the count");

    await alice.client.sendTyping(roomId, true, 20_000);
    await until(() => theirs.getMember(alice.client.getUserId())?.typing, "typing");
    const event = theirs.findEventById(sent.event_id);
    await bob.client.sendReadReceipt(event);
    await until(() => theirs.getUnreadNotificationCount() === 0, "the count at naught");
    const mine = await alice.room(roomId);
    await until(() => mine.getEventReadUpTo(bob.client.getUserId()) === sent.event_id, "the receipt");
    await bob.client.setRoomTag(roomId, "m.favourite", { order: 0.5 });
    await until(() => theirs.tags["m.favourite"]?.order === 0.5, "the tag");
});

test("a newcomer looks at the last rooms first and then at more", async () => {
    const carol = await Person.come("carol", { last: 1 });
    const rooms = [];
    for (let n = 0; n < 6; n++) {
        rooms.push((await carol.client.createRoom({ name: `Room ${n}` })).room_id);
    }
    await carol.sync();
    await until(() => carol.client.getRooms().length === 2, "two rooms");
    assert.equal(carol.sliding.getListData("all").joinedCount, 6);
    assert.ok(carol.client.getRoom(rooms[5]) && carol.client.getRoom(rooms[4]));

    carol.sliding.setListRanges("all", [[0, 99]]);
    await until(() => carol.client.getRooms().length === 6, "all rooms");

    const names = carol.client.getRooms().map((room) => room.name);
    assert.deepEqual(names.sort(), rooms.map((_, n) => `Room ${n}`));
});

test("a room that is opened shows more of its past", async () => {
    const dave = await Person.come("dave");
    const { room_id: roomId } = await dave.client.createRoom({ name: "Long" });
    for (let n = 0; n < 15; n++) await dave.client.sendTextMessage(roomId, `${n}`);
    dave.lists.get("all").timeline_limit = 1;
    await dave.sync();
    await until(async () => (await dave.texts(roomId)).length === 1, "the last message");

    dave.sliding.modifyRoomSubscriptions(new Set([roomId]));
    await until(async () => (await dave.texts(roomId)).length === 15, "the others");

    assert.deepEqual(
        await dave.texts(roomId),
        [...Array(15).keys()].map((n) => `${n}`),
    );
});
