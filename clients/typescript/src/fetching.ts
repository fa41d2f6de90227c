/** Calls are tried again where that is safe: POSTs bear an idempotency key. */

const ATTEMPTS = 5;
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 10_000;
const TRY_AGAIN = new Set([429, 502, 503, 504]);

export const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, ms * (0.5 + Math.random())));

/** A `fetch` that tries again. */
export function patient(fetcher: typeof fetch): typeof fetch {
  return async (input, init) => {
    const request = new Request(input, init);
    if (request.method === "POST" && !request.headers.has("Idempotency-Key")) {
      request.headers.set("Idempotency-Key", crypto.randomUUID());
    }
    let wait = FIRST_PAUSE_MS;
    for (let attempt = 1; ; attempt++) {
      try {
        const response = await fetcher(request.clone());
        if (!TRY_AGAIN.has(response.status) || attempt === ATTEMPTS) return response;
        wait = Math.max(wait, 1000 * Number(response.headers.get("Retry-After") ?? 0));
      } catch (error) {
        if (attempt === ATTEMPTS || request.signal.aborted) throw error;
      }
      await pause(wait);
      wait = Math.min(2 * wait, LONGEST_PAUSE_MS);
    }
  };
}
