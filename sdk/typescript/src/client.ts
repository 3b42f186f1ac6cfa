/** The client: a token for each request, retries, pages, errors as exceptions. */
import createClient, { type Client } from "openapi-fetch";
import type { ApiError, OAuthError, TokenRequest, paths } from "./schema.js";

export interface Options {
  /** Where the service is, such as `https://portal.example.com/api/litellm-orchestrator`. */
  baseUrl: string;
  /** Is asked for a Backstage token before each request. A workload, which exchanges its own token, needs none. */
  token?: () => string | Promise<string>;
  /** How often a request is sent that may be repeated; 4 unless given. */
  attempts?: number;
  /** Milliseconds after which an attempt is given up; 30 000 unless given. */
  timeout?: number;
  fetch?: (request: Request) => Promise<Response>;
  sleep?: (milliseconds: number) => Promise<void>;
}

/** Calls the service with a typed method for each path: `client.GET("/me")`. */
export function connect(options: Options): Client<paths> {
  return createClient<paths>({ baseUrl: options.baseUrl, fetch: (request) => send(request, options) });
}

async function send(request: Request, options: Options): Promise<Response> {
  const { attempts = 4, timeout = 30_000, fetch = globalThis.fetch, sleep = delay } = options;
  for (let sent = 1; ; sent++) {
    const attempt = new Request(request.clone(), {
      signal: AbortSignal.any([request.signal, AbortSignal.timeout(timeout)]),
    });
    if (options.token) attempt.headers.set("Authorization", `Bearer ${await options.token()}`);
    const outcome = await fetch(attempt).catch((error: unknown) => ({ error }));
    const wait = sent < attempts && !request.signal.aborted ? pause(request, outcome, sent) : undefined;
    if (wait === undefined) {
      if (outcome instanceof Response) return outcome;
      throw outcome.error;
    }
    await sleep(wait);
  }
}

/** Milliseconds until a request is sent again, after `sent` times; undefined if that would not help, or act twice. */
function pause(request: Request, outcome: Response | { error: unknown }, sent: number): number | undefined {
  // A workload's token gets the same key again.
  const isExchange = new URL(request.url).pathname.endsWith("/oauth/token");
  let again = request.method === "GET" || request.headers.has("Idempotency-Key") || isExchange;
  let wait = "";
  if (outcome instanceof Response) {
    const { status, headers } = outcome;
    wait = headers.get("Retry-After") ?? "";
    const endsByItself = status >= 500 || (status === 409 && wait !== "");
    again = status === 429 || (status === 401 && sent === 1) || (again && endsByItself);
  }
  const seconds = /^\d+$/.test(wait) ? Number(wait) : (0.25 + Math.random() / 4) * 2 ** sent;
  return again && seconds <= 60 ? seconds * 1000 : undefined;
}

const delay = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

/** The service refused or failed. `name` and `status` are those of the guide's table of errors. */
export class OrchestratorError extends Error {
  readonly status: number;

  constructor({ error, response }: ApiError) {
    super(error.message);
    this.name = error.name;
    this.status = response.statusCode;
  }
}

/** No key was given for a token. `error` is a code of OAuth, such as `invalid_grant`; the message is a sentence. */
export class TokenError extends Error {
  override readonly name = "TokenError";
  readonly error: string;

  constructor({ error, error_description }: OAuthError) {
    super(error_description);
    this.error = error;
  }
}

/** What asks for a key in exchange for a workload's token: `client.POST("/oauth/token", exchange(rule, token))`. */
export function exchange(rule: string, token: string) {
  const body: TokenRequest = {
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
    client_id: rule,
    subject_token: token,
    subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
  };
  return { body, headers: { "Content-Type": "application/x-www-form-urlencoded" } };
}

interface Answer<T> {
  data?: T;
  error?: ApiError | OAuthError;
  response: Response;
}

const isOfOAuth = (error: ApiError | OAuthError): error is OAuthError => typeof error.error === "string";

/** The body of a call that succeeded. Throws an OrchestratorError or a TokenError for one that did not. */
export function result<T>({ data, error, response }: Answer<T>): T {
  if (error !== undefined) throw isOfOAuth(error) ? new TokenError(error) : new OrchestratorError(error);
  if (data === undefined) throw new TypeError(`The answer ${response.status} has no body`);
  return data;
}

/** Every page: `pages((cursor) => client.GET("/users", { params: { query: { cursor } } }))`. */
export async function* pages<P extends { nextCursor?: string | null }>(
  fetchPage: (cursor: string | undefined) => Promise<Answer<P>>,
): AsyncGenerator<P> {
  let cursor: string | undefined;
  do {
    const page = result(await fetchPage(cursor));
    yield page;
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
}
