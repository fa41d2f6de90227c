/** What the server says went wrong: RFC 9457, problem details. */
export interface ProblemDetails {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  [more: string]: unknown;
}

/** The server refuses. `code` is for programs, `detail` for people. */
export class Problem extends Error {
  readonly code: string;
  readonly status: number;
  readonly details: Partial<ProblemDetails>;

  constructor(details: Partial<ProblemDetails>, status: number) {
    super(`${details.code ?? "unknown"}: ${details.detail ?? details.title ?? status}`);
    this.name = "Problem";
    this.code = details.code ?? "unknown";
    this.status = status;
    this.details = details;
  }
}

/** The server no longer has what happened since the position: read everything anew. */
export class Reset extends Error {
  override name = "Reset";
}
