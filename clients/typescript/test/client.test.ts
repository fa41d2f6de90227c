/** Against a running server, whose address and accounts come in the environment. */
import assert from "node:assert/strict";
import { test } from "node:test";
import WebSocket from "ws";

import { Client, Problem, type SocketClass, type Update } from "../src/index.js";

const url = process.env["COMITY_URL"]!;
const options = { WebSocket: WebSocket as unknown as SocketClass };

async function signedIn(name: string): Promise<Client> {
  const client = new Client(url, options);
  await client.signIn(name, "sesame");
  return client;
}

async function next(updates: AsyncIterator<Update>, type: string): Promise<Update> {
  for (;;) {
    const { value } = await updates.next();
    if (value.type === type) return value;
  }
}

test("a message is sent, and arrives", async () => {
  const [alice, bob] = [await signedIn("alice"), await signedIn("bob")];
  const sent = await alice.send("bob@one.test", "Hello");
  const conversation = sent.conversation.id;
  await bob.api
    .POST("/api/v1/conversations/{conversation_id}/accept", {
      params: { path: { conversation_id: conversation } },
    })
    .catch(() => {});
  const updates = bob.updates(sent.message.position);

  const arriving = next(updates[Symbol.asyncIterator](), "message.created");
  await alice.send(conversation, "Are you there?");

  const update = await arriving;
  assert.equal((update["message"] as { text: string }).text, "Are you there?");
  updates.close();
});

test("a problem says what it is", async () => {
  const alice = await signedIn("alice");

  await assert.rejects(
    alice.api.GET("/api/v1/conversations/{conversation_id}", {
      params: { path: { conversation_id: "!none" } },
    }),
    (error: Problem) => error.code === "not_found" && error.status === 404,
  );
});

test("what is sent over the socket is answered, and a lost connection is opened again", async () => {
  const alice = await signedIn("alice");
  const sockets: WebSocket[] = [];
  class Watched extends WebSocket {
    constructor(address: string, protocols?: string[]) {
      super(address, protocols);
      sockets.push(this);
    }
  }
  const watched = new Client(url, {
    token: alice.token!,
    WebSocket: Watched as unknown as SocketClass,
  });
  const updates = watched.updates();
  const seen: number[] = [];
  const texts: string[] = [];
  const reading = (async () => {
    for await (const update of updates) {
      if (update.position !== undefined) seen.push(update.position);
      const message = update["message"] as { text?: string } | undefined;
      if (update.type === "message.created" && message?.text !== undefined) texts.push(message.text);
    }
  })();
  const conversation = (await alice.send("alice@one.test", "note")).conversation.id;

  for (let n = 0; n < 5; n++) {
    if (n === 2) sockets.at(-1)!.terminate();
    const answer = await updates.send("send", { conversation_id: conversation, text: `note ${n}` });
    assert.ok(answer.message_id);
  }

  while (texts.at(-1) !== "note 4") await new Promise((resolve) => setTimeout(resolve, 10));
  updates.close();
  await reading;
  assert.deepEqual(texts.slice(-5), [0, 1, 2, 3, 4].map((n) => `note ${n}`));
  assert.deepEqual(seen, [...seen].sort((a, b) => a - b));
  assert.ok(sockets.length >= 2);
});
