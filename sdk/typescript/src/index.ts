import type { components } from "./schema.js";

export { connect, exchange, OrchestratorError, pages, result, TokenError, type Options } from "./client.js";
export type * from "./schema.js";
/** A key as the service lists it. */
export type Key = components["schemas"]["UserAPIKeyAuth"];
