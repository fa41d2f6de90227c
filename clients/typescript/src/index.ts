export { Client, type Options, type Shapes } from "./client.js";
export { Problem, Reset, type ProblemDetails } from "./errors.js";
export { Updates, type Answer, type SocketClass, type Update } from "./updates.js";
export type { components, paths } from "./schema.js";
