// Encrypted rooms, verification, secret storage, key backup and dehydrated devices.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { VerificationPhase, VerifierEvent } from "matrix-js-sdk/lib/crypto-api/verification.js";
import { Person, until } from "./person.mjs";

after(() => Person.goAll());

/** Both sides compare emoji, of which both see the same, and say that they match. */
async function compareEmoji(asking, asked) {
    await until(() => asked.phase === VerificationPhase.Requested, "the request");
    await asked.accept();
    await until(() => asking.phase === VerificationPhase.Ready, "acceptance");
    const verifiers = [await asking.startVerification("m.sas.v1")];
    verifiers.push(await until(() => asked.verifier, "the start"));
    const shown = verifiers.map(
        (verifier) =>
            new Promise((resolve) => {
                const known = verifier.getShowSasCallbacks();
                if (known) resolve(known);
                verifier.on(VerifierEvent.ShowSas, resolve);
            }),
    );
    const done = verifiers.map((verifier) => verifier.verify());
    const [ours, theirs] = await Promise.all(shown);
    assert.deepEqual(ours.sas.emoji, theirs.sas.emoji);
    assert.equal(ours.sas.emoji.length, 7);
    await Promise.all([ours.confirm(), theirs.confirm()]);
    await Promise.all(done);
    await until(() => [asking, asked].every((r) => r.phase === VerificationPhase.Done), "the end");
}

test("two people read each other in an encrypted room", async () => {
    const [alice, bob] = await Promise.all([Person.come("alice"), Person.come("bob")]);
    const roomId = await alice.makeRoom([bob], { encrypted: true });

    const there = await alice.say(roomId, "there");
    assert.equal(await bob.reads(roomId, there), "there");
    const back = await bob.say(roomId, "back");
    assert.equal(await alice.reads(roomId, back), "back");

    const event = await bob.sees(roomId, there);
    assert.equal(event.getWireType(), "m.room.encrypted");
    assert.equal(event.getWireContent().body, undefined);
});

test("who comes later reads what is sent from then on", async () => {
    const [alice, bob, carol] = await Promise.all(["alice", "bob", "carol"].map((n) => Person.come(n)));
    const roomId = await alice.makeRoom([bob], { encrypted: true });
    await bob.reads(roomId, await alice.say(roomId, "before"));

    await alice.client.invite(roomId, carol.id);
    await carol.client.joinRoom(roomId);
    await until(() => alice.room(roomId).getJoinedMembers().length === 3);
    const later = await alice.say(roomId, "after");
    assert.equal(await carol.reads(roomId, later), "after");

    await carol.client.leave(roomId);
    await until(() => alice.room(roomId).getJoinedMembers().length === 2);
    const without = await alice.say(roomId, "without carol");
    assert.equal(await bob.reads(roomId, without), "without carol");
});

test("two people verify each other by emoji, in their room", async () => {
    const [alice, bob] = await Promise.all([Person.come("alice"), Person.come("bob")]);
    await Promise.all([alice.setUpSecrets(), bob.setUpSecrets()]);
    const roomId = await alice.makeRoom([bob], { encrypted: true });
    await bob.reads(roomId, await alice.say(roomId, "hello"));

    const asking = await alice.crypto.requestVerificationDM(bob.id, roomId);
    await compareEmoji(asking, await until(() => bob.requests.at(-1), "the request in the room"));

    const verified = async (viewer, other) =>
        (await viewer.crypto.getUserVerificationStatus(other.id)).isVerified();
    await until(() => verified(alice, bob), "Bob verified");
    await until(() => verified(bob, alice), "Alice verified");
});

test("two people verify each other's devices by messages between the devices", async () => {
    const [alice, bob] = await Promise.all([Person.come("alice"), Person.come("bob")]);
    await Promise.all([alice.setUpSecrets(), bob.setUpSecrets()]);
    const roomId = await alice.makeRoom([bob], { encrypted: true });
    await bob.reads(roomId, await alice.say(roomId, "hello"));

    const asking = await alice.crypto.requestDeviceVerification(bob.id, bob.deviceId);
    await compareEmoji(asking, await until(() => bob.requests.at(-1), "the request"));

    await until(
        async () => (await alice.crypto.getDeviceVerificationStatus(bob.id, bob.deviceId)).isVerified(),
        "Bob's device verified",
    );
});

test("a second device is verified by the first, and gets its secrets and the backup", async () => {
    const alice = await Person.come("alice");
    await alice.setUpSecrets();
    const roomId = await alice.makeRoom([], { encrypted: true });
    const old = await alice.say(roomId, "before the second device");
    await until(async () => (await alice.backedUp()) === 1, "the session backed up");
    const phone = await alice.anotherDevice({ remembers: false });

    const asking = await phone.crypto.requestOwnUserVerification();
    await compareEmoji(asking, await until(() => alice.requests.at(-1), "the request"));

    await until(
        async () =>
            (await alice.crypto.getDeviceVerificationStatus(alice.id, phone.deviceId)).crossSigningVerified,
        "the phone signed",
    );
    await until(() => phone.crypto.getSessionBackupPrivateKey(), "the backup's key by secret sharing");
    await until(async () => (await phone.crypto.getActiveSessionBackupVersion()) !== null, "backup on");
    assert.equal(await phone.reads(roomId, old), "before the second device");
});

test("a second device with the recovery key restores the backup and reads old messages", async () => {
    const [alice, bob] = await Promise.all([Person.come("alice"), Person.come("bob")]);
    await alice.setUpSecrets();
    const roomId = await alice.makeRoom([bob], { encrypted: true });
    const own = await alice.say(roomId, "own");
    const other = await bob.say(roomId, "of Bob");
    await alice.reads(roomId, other);
    await until(async () => (await alice.backedUp()) === 2, "both sessions backed up");
    await alice.client.logout(true);
    alice.client.stopClient();

    const phone = await alice.anotherDevice();
    await phone.takeSecrets();
    await phone.crypto.loadSessionBackupPrivateKeyFromSecretStorage();
    const check = await phone.crypto.checkKeyBackupAndEnable();
    const restored = await phone.crypto.restoreKeyBackup();

    assert.equal(check.trustInfo.trusted, true);
    assert.deepEqual([restored.total, restored.imported], [2, 2]);
    assert.equal(await phone.reads(roomId, own), "own");
    assert.equal(await phone.reads(roomId, other), "of Bob");
    const status = () => phone.crypto.getDeviceVerificationStatus(alice.id, phone.deviceId);
    await until(async () => (await status()).crossSigningVerified, "the phone signed");
});

test("a backup is replaced and deleted", async () => {
    const alice = await Person.come("alice");
    await alice.setUpSecrets();
    const before = await alice.crypto.getKeyBackupInfo();

    await alice.crypto.resetKeyBackup();
    const now = await until(async () => {
        const info = await alice.crypto.getKeyBackupInfo();
        return info && info.version !== before.version && info;
    }, "another backup");
    await alice.crypto.disableKeyStorage();

    assert.equal(now.count, 0);
    assert.equal(await alice.crypto.getKeyBackupInfo(), null);
});

test("new cross-signing keys want the password", async () => {
    const alice = await Person.come("alice");
    await alice.setUpSecrets();
    const before = await alice.crypto.getCrossSigningKeyId();
    const asked = [];

    await alice.crypto.bootstrapCrossSigning({
        setupNewCrossSigning: true,
        authUploadDeviceSigningKeys: async (request) => {
            try {
                return await request(null);
            } catch (error) {
                asked.push(error.httpStatus);
                return request(alice.authentication(error.data.session));
            }
        },
    });

    assert.deepEqual(asked, [401]);
    assert.notEqual(await alice.crypto.getCrossSigningKeyId(), before);
});

test("a dehydrated device receives keys while its owner is away", async () => {
    const [alice, bob] = await Promise.all([Person.come("alice"), Person.come("bob")]);
    await alice.setUpSecrets();
    assert.equal(await alice.crypto.isDehydrationSupported(), true);
    await alice.crypto.startDehydration();
    const roomId = await alice.makeRoom([bob], { encrypted: true });
    await alice.reads(roomId, await bob.say(roomId, "while she is here"));
    await alice.client.logout(true);
    alice.client.stopClient();
    await until(async () => {
        const devices = await bob.crypto.getUserDeviceInfo([alice.id], true);
        return !devices.get(alice.id).has(alice.deviceId);
    }, "Bob knows that she is gone");

    await bob.crypto.forceDiscardSession(roomId);
    const missed = await bob.say(roomId, "while she was away");
    const phone = await alice.anotherDevice();
    await phone.takeSecrets();
    await phone.crypto.startDehydration();

    assert.equal(await phone.reads(roomId, missed), "while she was away");
});

test("a device whose one-time keys were all claimed uploads new ones", async () => {
    const [alice, bob] = await Promise.all([Person.come("alice"), Person.come("bob")]);
    const claim = async () => {
        const body = { one_time_keys: { [bob.id]: { [bob.deviceId]: "signed_curve25519" } } };
        const answer = await alice.client.http.authedRequest("POST", "/keys/claim", undefined, body);
        const keys = answer.one_time_keys[bob.id]?.[bob.deviceId];
        if (!keys) return undefined;
        const [name, key] = Object.entries(keys)[0];
        return { name, fallback: key.fallback === true };
    };
    await until(claim, "keys");
    const claimed = [];
    for (let round = 0; round < 5 && !claimed.some((key) => key.fallback); round++) {
        claimed.push(...(await Promise.all(Array.from({ length: 60 }, claim))));
    }
    const names = claimed.filter((key) => !key.fallback).map((key) => key.name);
    assert.equal(new Set(names).size, names.length, "no key is given out twice");

    await alice.client.sendToDevice("dev.comity.wake", new Map([[bob.id, new Map([["*", {}]])]]));

    const fresh = await until(async () => {
        const next = await claim();
        return !next.fallback && next;
    }, "new one-time keys");
    assert.ok(!names.includes(fresh.name));
    await until(async () => (await claim()).fallback === false, "more of them");
});
