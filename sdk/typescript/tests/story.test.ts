/**
 * The whole story of a key, against the service at ORCHESTRATOR_URL (`make mock`).
 * ORCHESTRATOR_TOKENS has Backstage tokens by user ref, as JSON; for whom it has none, the mock's are used.
 * ORCHESTRATOR_WORKLOAD_TOKEN is one that the rule `checkout-pipeline` takes; without it there is no workload.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  connect,
  exchange,
  OrchestratorError,
  pages,
  result,
  TokenError,
  type Key,
  type UsageReport,
} from "litellm-orchestrator-client";

const baseUrl = process.env["ORCHESTRATOR_URL"] ?? "";
const workloadToken = process.env["ORCHESTRATOR_WORKLOAD_TOKEN"] ?? "";
const tokens: Record<string, string> = JSON.parse(process.env["ORCHESTRATOR_TOKENS"] ?? "{}");
const [alice, bob, carol] = ["alice", "bob", "carol"].map((name) => `user:default/${name}`) as [string, string, string];

/** A proxy that compares responses with the contract, if there is one in between, must find nothing. */
const compared = async (request: Request) => {
  const response = await fetch(request);
  const violations: { location: string[] }[] = JSON.parse(response.headers.get("sl-violations") ?? "[]");
  assert.deepEqual(violations.filter(({ location }) => location[0] === "response"), []);
  return response;
};

const signedIn = (user: string) =>
  connect({ baseUrl, token: () => tokens[user] ?? `mock-user-token:{"sub":"${user}"}`, fetch: compared });

test("a member manages a key", async () => {
  const client = signedIn(alice);
  const { subject: userId, roles, permissions } = result(await client.GET("/me"));
  assert.deepEqual([userId, roles, permissions.find(row => row.name === "keys.create")?.scope], [alice, ["member"], "own"]);

  const alias = `typescript ${crypto.randomUUID().slice(0, 8)}`;
  const header = { "Idempotency-Key": crypto.randomUUID() };
  const body = { alias, maxBudget: 5, budgetDuration: "7d", expiresIn: 3600 };
  const create = () => client.POST("/users/{userId}/keys", { params: { path: { userId }, header }, body });
  const made = result(await create());
  assert.deepEqual(result(await create()), made);

  const path = { userId, keyId: made.keyId };
  const found = await client.GET("/users/{userId}/keys/{keyId}", { params: { path } });
  const key: Key = result(found);
  assert.deepEqual([key.key_alias, key.max_budget, key.user_id], [alias, 5, alice]);
  const tag = found.response.headers.get("ETag") ?? "";
  const unchanged = await client.GET("/users/{userId}/keys/{keyId}", {
    params: { path, header: { "If-None-Match": tag } },
  });
  assert.equal(unchanged.response.status, 304);

  result(await client.PATCH("/users/{userId}/keys/{keyId}", { params: { path }, body: { maxBudget: null } }));
  const stale = await client.PATCH("/users/{userId}/keys/{keyId}", {
    params: { path, header: { "If-Match": tag } },
    body: { maxBudget: 9 },
  });
  assert.deepEqual([stale.error?.error.name, stale.error?.response.statusCode], ["PreconditionFailedError", 412]);

  const aliases: (string | null | undefined)[] = [];
  const fetchPage = (cursor: string | undefined) =>
    client.GET("/users/{userId}/keys", { params: { path: { userId }, query: { limit: 1, cursor } } });
  for await (const { keys } of pages(fetchPage)) aliases.push(...keys.map(({ key_alias }) => key_alias));
  assert.ok(aliases.includes(alias) && aliases.length > 1, String(aliases));

  const rotated = result(
    await client.POST("/users/{userId}/keys/{keyId}/regenerate", { params: { path }, body: { overlap: 60 } }),
  );
  assert.equal(rotated.revokes.keyId, made.keyId);
  assert.deepEqual([rotated.id, rotated.version], [made.id, 2]);
  const known = result(
    await client.GET("/users/{userId}/keys/{keyId}/versions", { params: { path: { userId, keyId: rotated.id! } } }),
  );
  assert.deepEqual(
    known.versions.map((row) => row.token),
    [rotated.keyId, made.keyId],
  );
  assert.ok(Date.parse(rotated.revokes.revokeAt) > Date.now());
  assert.deepEqual(result(await client.POST("/keys/report", { body: { key: rotated.keySecret } })), { received: true });
  for (const keyId of [made.keyId, rotated.keyId]) {
    const { response } = await client.DELETE("/users/{userId}/keys/{keyId}", { params: { path: { userId, keyId } } });
    assert.equal(response.status, 204);
  }
  const gone = await client.GET("/users/{userId}/keys/{keyId}", { params: { path } });
  assert.throws(
    () => result(gone),
    (error) => error instanceof OrchestratorError && error.name === "NotFoundError" && error.status === 404,
  );
});

test("a team has a key for its component", async () => {
  const client = signedIn(alice);
  const userId = "component:default/assistant";
  const query = { managedBy: "me", kind: "component" } as const;
  const managed = result(await client.GET("/users", { params: { query } }));
  assert.ok([...managed.users, ...(managed.candidates ?? [])].some((row) => row.userId === userId));

  const alias = `typescript ${crypto.randomUUID().slice(0, 8)}`;
  const made = result(await client.POST("/users/{userId}/keys", { params: { path: { userId } }, body: { alias } }));
  const path = { userId, keyId: made.id! };
  for (const version of [2, 3]) {
    const rotated = result(
      await client.POST("/users/{userId}/keys/{keyId}/regenerate", { params: { path }, body: {} }),
    );
    assert.deepEqual([rotated.id, rotated.version], [made.id, version]);
  }
  const known = result(await client.GET("/users/{userId}/keys/{keyId}/versions", { params: { path } }));
  assert.deepEqual(
    known.versions.map((row) => row.version),
    [3, 2, 1],
  );
  result(await client.GET("/users/{userId}/usage", { params: { path: { userId }, query: { groupBy: "key" } } }));
  const { response } = await client.DELETE("/users/{userId}/keys/{keyId}", { params: { path } });
  assert.equal(response.status, 204);
});

test("a member sees their spending", async () => {
  const client = signedIn(alice);
  const usage: UsageReport = result(
    await client.GET("/users/{userId}/usage", { params: { path: { userId: alice }, query: { groupBy: "model" } } }),
  );
  assert.equal(usage.budget.remaining, (usage.budget.maxBudget ?? 0) - usage.budget.spend);
  assert.ok(result(await client.GET("/models")).models.length > 0);
});

test("a member is refused what is not theirs, with a typed error", async () => {
  const client = signedIn(alice);
  const { error } = await client.GET("/users/{userId}", { params: { path: { userId: bob } } });
  assert.deepEqual([error?.error.name, error?.response.statusCode], ["NotAllowedError", 403]);
  assert.match(error?.error.message ?? "", /admin/);
  const malformed = await client.POST("/users/{userId}/keys", {
    params: { path: { userId: alice } },
    body: { budgetDuration: "soon" },
  });
  assert.equal(malformed.error?.error.name, "InputError");
});

test("an admin manages everybody", async () => {
  const client = signedIn(bob);
  const users: string[] = [];
  const fetchPage = (cursor: string | undefined) => client.GET("/users", { params: { query: { limit: 1, cursor } } });
  for await (const page of pages(fetchPage)) users.push(...page.users.map(({ userId }) => userId));
  assert.ok(users.includes(alice));
  const path = { userId: alice };
  const changed = result(await client.PATCH("/users/{userId}", { params: { path }, body: { maxBudget: 250 } }));
  assert.equal(changed.maxBudget, 250);
  const { events } = result(await client.GET("/audit", { params: { query: { target: alice, limit: 1 } } }));
  assert.deepEqual(
    events.map(({ actor, action, outcome }) => [actor, action, outcome]),
    [[bob, "user.update", "done"]],
  );
});

const unless = { skip: workloadToken ? false : "there is no ORCHESTRATOR_WORKLOAD_TOKEN" };
test("a workload exchanges its token for a key of minutes", unless, async () => {
  const rule = "checkout-pipeline";
  const workload = connect({ baseUrl, fetch: compared });
  const issue = (token: string) => workload.POST("/oauth/token", exchange(rule, token));
  const key = result(await issue(workloadToken));
  assert.match(key.access_token, /^sk-/);
  assert.ok(key.expires_in > 0 && key.expires_in <= 900, String(key.expires_in));
  assert.equal(result(await issue(workloadToken)).access_token, key.access_token);
  const refused = await issue(`${workloadToken.slice(0, -8)}AAAAAAAA`);
  assert.throws(
    () => result(refused),
    (error) => error instanceof TokenError && error.error === "invalid_grant",
  );
  const { rules } = result(await signedIn(bob).GET("/workloads"));
  const living = rules.filter(({ name }) => name === rule).map((row) => [row.owner, row.livingKeys > 0]);
  assert.deepEqual(living, [["component:default/checkout", true]]);
  const path = { userId: "component:default/checkout" };
  const { keys } = result(await signedIn(bob).GET("/users/{userId}/keys", { params: { path } }));
  assert.ok(keys.some(({ source }) => source === `workload:${rule}`));
});

test("an outsider is refused", async () => {
  assert.equal((await signedIn(carol).GET("/me")).error?.response.statusCode, 403);
});
