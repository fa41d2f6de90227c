/** A client of one instance. Every operation of the API is `client.api.GET("/api/v1/...")`, typed. */
import createClient, { type Client as OpenApiClient, type Middleware } from "openapi-fetch";

import { Problem, type ProblemDetails } from "./errors.js";
import { patient } from "./fetching.js";
import type { components, paths } from "./schema.js";
import { Updates, type SocketClass } from "./updates.js";

export type Shapes = components["schemas"];

export interface Options {
  token?: string;
  fetch?: typeof fetch;
  /** For Node before 22: the `WebSocket` of the package `ws`. */
  WebSocket?: SocketClass;
}

export class Client {
  readonly api: OpenApiClient<paths>;
  token: string | undefined;
  #socketClass: SocketClass;

  constructor(
    readonly baseUrl: string,
    options: Options = {},
  ) {
    this.token = options.token;
    this.#socketClass = options.WebSocket ?? globalThis.WebSocket;
    this.api = createClient<paths>({
      baseUrl: baseUrl.replace(/\/$/, ""),
      fetch: patient(options.fetch ?? ((request) => fetch(request))) as (
        request: Request,
      ) => Promise<Response>,
    });
    this.api.use(this.#middleware());
  }

  /** Sign in; calls that follow are the user's. */
  async signIn(user: string, password: string): Promise<Shapes["Session"]> {
    const { data } = await this.api.POST("/api/v1/sessions", { body: { user, password } });
    this.token = data!.access_token;
    return data!;
  }

  /** Send a text to a person (an address) or a conversation (its ID). */
  async send(to: string, text: string, more: Partial<Shapes["NewMessage"]> = {}): Promise<Shapes["Sent"]> {
    const where = to.startsWith("!") ? { conversation_id: to } : { to };
    const { data } = await this.api.POST("/api/v1/messages", { body: { text, ...where, ...more } });
    return data!;
  }

  /** What happens, from a position on or from now, across lost connections. */
  updates(since?: number): Updates {
    const url = this.baseUrl.replace(/^http/, "ws").replace(/\/$/, "") + "/api/v1/ws";
    return new Updates(url, () => this.token, since, this.#socketClass);
  }

  #middleware(): Middleware {
    return {
      onRequest: ({ request }) => {
        if (this.token !== undefined) request.headers.set("Authorization", `Bearer ${this.token}`);
        return request;
      },
      onResponse: async ({ response }) => {
        if (response.status >= 400) {
          const told = (await response.json().catch(() => ({}))) as Partial<ProblemDetails>;
          throw new Problem(told, response.status);
        }
        return response;
      },
    };
  }
}
