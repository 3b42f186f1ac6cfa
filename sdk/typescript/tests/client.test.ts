/** The client itself: tokens, retries, pages and errors. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, exchange, OrchestratorError, pages, result, TokenError } from "litellm-orchestrator-client";

const userId = "user:default/alice";
const key = { userId, keyId: "0".repeat(64), keySecret: "sk-once" };

const json = (status: number, body: unknown, headers: Record<string, string> = {}) =>
  new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json", ...headers } });

const failed = (status: number, name = "SomeError", headers: Record<string, string> = {}) =>
  json(
    status,
    { error: { name, message: "no" }, request: { method: "GET", url: "/" }, response: { statusCode: status } },
    headers,
  );

const page = (nextCursor: string | null) => json(200, { users: [], nextCursor, sweptAt: null });

/** Answers in turn, and the last one for ever. An error is a connection that fails. */
function service(...answers: (Response | Error)[]) {
  const requests: Request[] = [];
  const pauses: number[] = [];
  let tokens = 0;
  const client = connect({
    baseUrl: "http://service/api/litellm-orchestrator",
    token: () => `t${++tokens}`,
    sleep: async (milliseconds) => void pauses.push(milliseconds),
    fetch: async (request) => {
      requests.push(request);
      await request.clone().text();
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      if (answer instanceof Response) return answer.clone();
      throw answer;
    },
  });
  return { client, requests, pauses, sent: (header: string) => requests.map(({ headers }) => headers.get(header)) };
}

const create = (client: ReturnType<typeof connect>, named: boolean) =>
  client.POST("/users/{userId}/keys", {
    params: { path: { userId }, ...(named ? { header: { "Idempotency-Key": "laptop-1" } } : {}) },
    body: { alias: "laptop" },
  });

test("a create is repeated with the same Idempotency-Key and body", async () => {
  const busy = failed(409, "ConflictError", { "Retry-After": "0" });
  const { client, requests, sent } = service(new TypeError("refused"), failed(503), busy, json(201, key));
  assert.deepEqual(result(await create(client, true)), key);
  assert.deepEqual(sent("Idempotency-Key"), Array(4).fill("laptop-1"));
  assert.equal(new URL(requests[3]!.url).pathname, "/api/litellm-orchestrator/users/user%3Adefault%2Falice/keys");
  assert.deepEqual(await requests[3]!.json(), { alias: "laptop" });
});

test("what might act twice is sent once", async () => {
  for (const call of [
    (client: ReturnType<typeof connect>) => create(client, false),
    (client: ReturnType<typeof connect>) => client.POST("/cleanup", { body: {} }),
  ]) {
    const { client, requests } = service(failed(503));
    const { error } = await call(client);
    assert.equal(error?.response.statusCode, 503);
    assert.equal(requests.length, 1);
  }
});

test("a conflict that stays is not repeated", async () => {
  const { client, requests } = service(failed(409, "ConflictError"));
  const answer = await create(client, true);
  assert.throws(
    () => result(answer),
    (error) =>
      error instanceof OrchestratorError &&
      error.name === "ConflictError" &&
      error.status === 409 &&
      error.message === "no",
  );
  assert.equal(requests.length, 1);
});

test("pauses follow Retry-After or grow", async () => {
  const limited = service(failed(429, "TooManyRequestsError", { "Retry-After": "7" }), json(202, {}));
  await limited.client.POST("/cleanup", { body: {} });
  assert.deepEqual(limited.pauses, [7000]);
  const down = service(failed(500));
  await down.client.GET("/me");
  assert.equal(down.requests.length, 4);
  down.pauses.forEach((pause, n) => assert.ok(pause >= 500 * 2 ** n && pause <= 1000 * 2 ** n, String(down.pauses)));
  const busy = service(failed(503, "ServiceUnavailableError", { "Retry-After": "61" }));
  await busy.client.GET("/me");
  assert.deepEqual(busy.pauses, []);
});

test("a connection that stays broken is an error", async () => {
  const { client, requests } = service(new TypeError("refused"));
  await assert.rejects(client.GET("/users"), new TypeError("refused"));
  assert.equal(requests.length, 4);
});

test("a caller who gives up is not kept", async () => {
  const { client, requests } = service(new TypeError("aborted"));
  await assert.rejects(client.GET("/users", { signal: AbortSignal.abort() }), new TypeError("aborted"));
  assert.equal(requests.length, 1);
});

test("a token is asked for before each request, and once more after a 401", async () => {
  const renewed = service(failed(401), page(null));
  result(await renewed.client.GET("/users"));
  assert.deepEqual(renewed.sent("Authorization"), ["Bearer t1", "Bearer t2"]);
  const refused = service(failed(401));
  assert.equal((await refused.client.GET("/users")).error?.response.statusCode, 401);
  assert.equal(refused.requests.length, 2);
});

test("an exchange is a form, needs no Backstage token, and is repeated", async () => {
  const issued = { access_token: "sk-short", issued_token_type: "t", token_type: "Bearer", expires_in: 900 };
  const busy = json(503, { error: "temporarily_unavailable", error_description: "busy" });
  const requests: Request[] = [];
  const answers = [busy, json(200, issued)];
  const client = connect({
    baseUrl: "http://service/api/litellm-orchestrator",
    sleep: async () => {},
    fetch: async (request) => (requests.push(request), answers.shift()!),
  });
  assert.deepEqual(result(await client.POST("/oauth/token", exchange("shop-main", "a.b.c"))), issued);
  assert.deepEqual(
    requests.map(({ headers }) => headers.get("Authorization")),
    [null, null],
  );
  assert.deepEqual(Object.fromEntries(new URLSearchParams(await requests[1]!.text())), {
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
    client_id: "shop-main",
    subject_token: "a.b.c",
    subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
  });
});

test("a refused exchange has the form of OAuth", async () => {
  const { client } = service(json(400, { error: "invalid_grant", error_description: "The token is not accepted" }));
  const answer = await client.POST("/oauth/token", exchange("shop-main", "a.b.c"));
  assert.throws(
    () => result(answer),
    (error) =>
      error instanceof TokenError && error.error === "invalid_grant" && error.message === "The token is not accepted",
  );
});

test("pages follow the cursor to the end", async () => {
  const { client, requests } = service(page("a"), page("b"), page(null));
  const cursors = [];
  for await (const { nextCursor } of pages((cursor) => client.GET("/users", { params: { query: { cursor } } })))
    cursors.push(nextCursor);
  assert.deepEqual(cursors, ["a", "b", null]);
  assert.deepEqual(
    requests.map(({ url }) => new URL(url).searchParams.get("cursor")),
    [null, "a", "b"],
  );
});
