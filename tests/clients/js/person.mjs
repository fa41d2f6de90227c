// Somebody with matrix-js-sdk and its Rust crypto, and ways to wait for what they see.
import "./node20.mjs";
import { createHash, randomBytes } from "node:crypto";
import * as sdk from "matrix-js-sdk";
import { CryptoEvent } from "matrix-js-sdk/lib/crypto-api/index.js";
import { RustBackupManager } from "matrix-js-sdk/lib/rust-crypto/backup.js";
import { logger } from "matrix-js-sdk/lib/logger.js";

export const BASE_URL = process.env.COMITY_URL.replace(/\/$/, "");
const PATIENCE_MS = 30_000;
const PASSWORD = "sesame";

// Before clients back keys up they wait, at random, for up to ten seconds.
RustBackupManager.maxBackupLoopStartDelayMillis = 50;

if (!process.env.COMITY_VERBOSE) {
    logger.setLevel("silent", false);
    for (const name of ["debug", "info", "log", "warn"]) console[name] = () => {};
}

/** What `look` finds, as soon as it finds something. */
export async function until(look, what) {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
        const found = await look();
        if (found) return found;
        if (Date.now() > end) throw new Error(`waited in vain for ${what ?? look}`);
        await new Promise((resolve) => setTimeout(resolve, 15));
    }
}

export class Person {
    static everybody = [];

    constructor(name, client, secrets) {
        this.name = name;
        this.client = client;
        this.secrets = secrets; // the recovery key, as the person has it on paper
        this.requests = []; // of verification, the latest last
        client.on(CryptoEvent.VerificationRequestReceived, (request) => this.requests.push(request));
        Person.everybody.push(this);
    }

    /** A new account, or with `name` a new device of a known one. */
    static async come(name, { secrets = {}, crypto = true, known = false } = {}) {
        const user = known ? name : `${name}-${randomBytes(4).toString("hex")}`;
        const door = sdk.createClient({ baseUrl: BASE_URL });
        const login = known
            ? await door.loginRequest({
                  type: "m.login.password",
                  identifier: { type: "m.id.user", user },
                  password: PASSWORD,
              })
            : await door.registerRequest({
                  username: user,
                  password: PASSWORD,
                  auth: { type: "m.login.dummy" },
              });
        const client = sdk.createClient({
            baseUrl: BASE_URL,
            userId: login.user_id,
            deviceId: login.device_id,
            accessToken: login.access_token,
            timelineSupport: true,
            cryptoCallbacks: {
                getSecretStorageKey: async ({ keys }) =>
                    secrets.key ? [Object.keys(keys)[0], secrets.key.privateKey] : null,
                cacheSecretStorageKey: () => {},
            },
        });
        const person = new Person(user, client, secrets);
        if (crypto) await client.initRustCrypto({ useIndexedDB: false });
        await client.startClient({ initialSyncLimit: 30, threadSupport: true, pollTimeout: 10_000 });
        await until(() => client.isInitialSyncComplete(), `the first sync of ${user}`);
        return person;
    }

    /** The same account on another device, with what the person remembers. */
    async anotherDevice({ remembers = true } = {}) {
        return Person.come(this.name, { secrets: remembers ? this.secrets : {}, known: true });
    }

    static goAll() {
        for (const person of Person.everybody.splice(0)) person.client.stopClient();
    }

    get id() {
        return this.client.getUserId();
    }

    get deviceId() {
        return this.client.getDeviceId();
    }

    get crypto() {
        return this.client.getCrypto();
    }

    room(roomId) {
        return this.client.getRoom(roomId);
    }

    /** Make a room and have the others join it. */
    async makeRoom(others, { encrypted = false, ...options } = {}) {
        const initial = [{ type: "m.room.history_visibility", state_key: "", content: { history_visibility: "shared" } }];
        if (encrypted) {
            initial.push({ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } });
        }
        const { room_id: roomId } = await this.client.createRoom({
            preset: "private_chat",
            invite: others.map((other) => other.id),
            initial_state: initial,
            ...options,
        });
        for (const other of others) {
            await until(() => other.room(roomId)?.getMyMembership() === "invite", "the invite");
            await other.client.joinRoom(roomId);
        }
        const all = [this, ...others];
        for (const person of all) {
            await until(() => person.room(roomId)?.getJoinedMembers().length === all.length, "members");
            if (encrypted) await until(() => person.crypto.isEncryptionEnabledInRoom(roomId), "encryption");
        }
        return roomId;
    }

    async say(roomId, body, content = {}) {
        const sent = await this.client.sendMessage(roomId, { msgtype: "m.text", body, ...content });
        return sent.event_id;
    }

    /** Open a thread, as Element does when somebody wants to reply in it, and reply there. */
    async reply(roomId, root, body) {
        const room = this.room(roomId);
        const thread = room.getThread(root) ?? room.createThread(root, room.findEventById(root), [], true);
        await until(() => thread.initialEventsFetched, "the beginning of the thread");
        const txnId = this.client.makeTxnId();
        let eventId;
        try {
            const sent = await this.client.sendMessage(roomId, root, { msgtype: "m.text", body }, txnId);
            eventId = sent.event_id;
        } catch (error) {
            // matrix-js-sdk does so where a sync shows the reply before the send is answered.
            if (!/not a local echo/.test(error.message)) throw error;
            const mine = (event) => event.getUnsigned().transaction_id === txnId;
            eventId = (await until(() => thread.events.find(mine), "the reply")).getId();
        }
        await this.seesReply(roomId, root, eventId);
        return eventId;
    }

    /**
     * Wait until a reply is the latest of its thread.
     *
     * matrix-js-sdk asks for a thread once, and loses or counts twice what comes while it does,
     * with any server: only after that the next reply may come.
     */
    async seesReply(roomId, root, eventId) {
        const thread = await until(() => this.room(roomId).getThread(root), "the thread");
        await until(() => thread.initialEventsFetched, "the beginning of the thread");
        await until(() => thread.replyToEvent?.getId() === eventId, "the latest reply");
        return thread;
    }

    /** An event as this person sees it, decrypted, once it is there. */
    async sees(roomId, eventId) {
        const event = await until(() => this.room(roomId)?.findEventById(eventId), `event ${eventId}`);
        const clear = () =>
            !event.isEncrypted() || event.isRedacted() || (event.getClearContent() && !event.isDecryptionFailure());
        await until(() => !event.isBeingDecrypted() && clear(), "the key");
        return event;
    }

    /** What a message says here. */
    async reads(roomId, eventId) {
        return (await this.sees(roomId, eventId)).getContent().body;
    }

    /** Cross-signing keys, a recovery key, secret storage and key backup. */
    async setUpSecrets() {
        await this.crypto.bootstrapCrossSigning({
            authUploadDeviceSigningKeys: async (request) => request(null),
        });
        this.secrets.key = await this.crypto.createRecoveryKeyFromPassphrase();
        await this.crypto.bootstrapSecretStorage({
            createSecretStorageKey: async () => this.secrets.key,
            setupNewSecretStorage: true,
            setupNewKeyBackup: true,
        });
        await until(() => this.crypto.isCrossSigningReady(), "cross-signing");
    }

    /** A device that came with the recovery key alone takes the secrets from the server. */
    async takeSecrets() {
        await this.crypto.userHasCrossSigningKeys(this.id, true);
        await this.crypto.bootstrapCrossSigning({});
    }

    /** How many keys the server has in the current backup. */
    async backedUp() {
        const backup = await this.client.http.authedRequest("GET", "/room_keys/version");
        return backup.count;
    }

    /** Prove one's identity by a password, as interactive authentication wants it. */
    authentication(session) {
        return {
            type: "m.login.password",
            identifier: { type: "m.id.user", user: this.name },
            password: PASSWORD,
            session,
        };
    }
}

export function sha256(bytes) {
    return createHash("sha256").update(bytes).digest("hex");
}
