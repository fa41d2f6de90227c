/**
 * What happens, over a WebSocket that is opened again whenever it is lost.
 *
 * Nothing is missed and nothing comes twice: each update has a position, and a new connection begins
 * after the last one. What was sent and not yet answered is sent again; the server knows it by its
 * `client_id`.
 */
import { Problem, Reset, type ProblemDetails } from "./errors.js";
import { pause } from "./fetching.js";

export interface Update {
  type: string;
  position?: number;
  conversation_id?: string;
  [more: string]: unknown;
}

export interface Answer {
  type: "ok";
  client_id: string;
  message_id?: string;
  position?: number;
  conversation_id?: string;
  outcome?: string;
}

/** The browser's WebSocket, or what behaves like it (the package `ws`, for Node before 22). */
export type SocketClass = new (url: string, protocols?: string[]) => WebSocket;

interface Waiting {
  frame: object;
  resolve: (answer: Answer) => void;
  reject: (error: Error) => void;
}

const PROTOCOL = "comity.v1.json";
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;
const SIGN_OF_LIFE_MS = 30_000;
const LAST: Record<number, string> = { 4001: "unauthenticated", 4002: "replaced" };

export class Updates implements AsyncIterable<Update> {
  #waiting = new Map<string, Waiting>();
  #socket: WebSocket | undefined;
  #hangUp: () => void = () => {};
  #closed = false;
  #pauseMs = FIRST_PAUSE_MS;

  /** `position`: of the last update. Keep it to go on after a restart of the program. */
  constructor(
    private readonly url: string,
    private readonly token: () => string | undefined,
    public position: number | undefined,
    private readonly socketClass: SocketClass,
  ) {}

  /**
   * Send a frame (`send`, `edit`, `react`, `delete`, `read`, `typing`, `presence`); the server's
   * answer, once it is durable. Somebody has to iterate meanwhile. Throws `Problem`.
   */
  send(type: string, fields: Record<string, unknown> = {}): Promise<Answer> {
    const client_id = (fields["client_id"] as string | undefined) ?? crypto.randomUUID();
    const frame = { type, ...fields, client_id };
    return new Promise((resolve, reject) => {
      this.#waiting.set(client_id, { frame, resolve, reject });
      this.#socket?.send(JSON.stringify(frame));
    });
  }

  /** End the iteration, and the connection. */
  close(): void {
    this.#closed = true;
    this.#hangUp();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Update> {
    while (!this.#closed) {
      yield* this.#oneConnection();
      if (this.#closed) return;
      await pause(this.#pauseMs);
      this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
    }
  }

  async *#oneConnection(): AsyncGenerator<Update> {
    const socket = new this.socketClass(this.url, [PROTOCOL]);
    const frames: (Update | Error | null)[] = [];
    let wake: () => void = () => {};
    const put = (frame: Update | Error | null) => {
      frames.push(frame);
      wake();
    };
    socket.onopen = () => socket.send(JSON.stringify(this.#hello()));
    socket.onmessage = (event) => put(JSON.parse(String(event.data)) as Update);
    socket.onerror = () => put(null);
    socket.onclose = (event) => {
      const why = LAST[event.code];
      put(why === undefined ? null : new Problem({ code: why }, 401));
    };
    const alive = setInterval(() => {
      if (socket.readyState === 1) socket.send('{"type":"ping"}');
    }, SIGN_OF_LIFE_MS);
    this.#hangUp = () => {
      clearInterval(alive);
      socket.close();
      put(null);
    };
    try {
      for (;;) {
        while (frames.length === 0) await new Promise<void>((resolve) => (wake = resolve));
        const frame = frames.shift();
        if (frame === null || frame === undefined) return;
        if (frame instanceof Error) throw frame;
        if (this.#take(socket, frame)) yield frame;
      }
    } finally {
      clearInterval(alive);
      this.#socket = undefined;
      socket.onclose = socket.onerror = socket.onmessage = null;
      socket.close();
    }
  }

  #hello(): object {
    const since = this.position === undefined ? {} : { since: this.position };
    return { type: "hello", token: this.token(), ...since };
  }

  /** Note what a frame says; whether it is an update. */
  #take(socket: WebSocket, frame: Update): boolean {
    switch (frame.type) {
      case "hello":
        this.#pauseMs = FIRST_PAUSE_MS;
        this.position ??= frame.position;
        this.#socket = socket;
        for (const { frame: waiting } of this.#waiting.values()) socket.send(JSON.stringify(waiting));
        return false;
      case "ok":
      case "problem":
        this.#answer(frame);
        return false;
      case "pong":
        return false;
      case "reset":
        this.position = frame.position;
        throw new Reset(String(frame["reason"] ?? ""));
    }
    if (frame.position !== undefined) {
      if (this.position !== undefined && frame.position <= this.position) return false;
      this.position = frame.position;
    }
    return true;
  }

  #answer(frame: Update): void {
    const client_id = String(frame["client_id"] ?? "");
    const waiting = this.#waiting.get(client_id);
    if (waiting === undefined) return;
    this.#waiting.delete(client_id);
    if (frame.type === "ok") {
      waiting.resolve(frame as unknown as Answer);
    } else {
      const details = frame["problem"] as ProblemDetails;
      waiting.reject(new Problem(details, details.status));
    }
  }
}
