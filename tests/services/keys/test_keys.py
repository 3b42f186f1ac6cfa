"""Creating, reading and changing keys, through the API and on the wire to LiteLLM."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from domain.times import seconds_of
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BOB, Clock, MakeService, keys_path
from tests.support.keys import LAPTOP, made, refusal, tiered
from tests.support.upstreams import Overriding, Slow, respond


async def test_all_properties_of_a_key(alice: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """They reach LiteLLM under LiteLLM's names and are returned as requested."""
    row = (await alice.get(keys_path(ALICE, await made(alice, **LAPTOP)))).json()
    assert (row["key_alias"], row["models"], row["max_budget"], row["budget_duration"]) == (
        "laptop",
        ["gpt-fake"],
        5,
        "7d",
    )
    assert (row["tpm_limit"], row["rpm_limit"], row["metadata"]) == (1000, 10, {"team": "search"})
    assert seconds_of(row["expires"], "expires") == clock() + 3600
    assert row["key_type"] == "llm_api"


async def test_an_alias_is_opaque_in_litellm(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """LiteLLM requires unique aliases across all users; here two users may choose the same."""
    await made(alice, alias="desktop")
    hers, his = await made(alice, alias="laptop"), await made(bob, BOB, alias="laptop")
    aliases = {litellm.rows.keys[key_id]["key_alias"] for key_id in (hers, his)}
    assert len(aliases) == 2
    assert "laptop" not in aliases
    for client, owner, key_id in ((alice, ALICE, hers), (bob, BOB, his)):
        listed = (await client.get(keys_path(owner), params={"alias": "laptop"})).json()["keys"]
        assert [row["token"] for row in listed] == [key_id]


@pytest.mark.parametrize(
    "alias",
    [
        "Pr\u00fcfschl\u00fcssel",
        "prod:eu",
        "O'Brien's laptop",
        "\u7b14\u8bb0\u672c",
        "#1",
        "a  b",
        "x",
        "\U0001f600" * 64,
    ],
)
async def test_an_alias_is_for_people(alice: httpx.AsyncClient, alias: str) -> None:
    """Any text without control characters: created, found, changed to and rotated."""
    key_id = await made(alice, alias=alias)
    rows = (await alice.get(keys_path(ALICE), params={"alias": alias})).json()["keys"]
    assert [(row["token"], row["key_alias"]) for row in rows] == [(key_id, alias)]
    assert (await alice.patch(keys_path(ALICE, key_id), json={"alias": f"{alias[:60]}-2"})).status_code == 200
    assert (await alice.patch(keys_path(ALICE, key_id), json={"alias": alias})).json()["key_alias"] == alias
    assert (await alice.post(f"{keys_path(ALICE, key_id)}/regenerate", json={})).status_code == 201


@pytest.mark.parametrize(
    "moment",
    ["2027-02-01T00:00:00Z", "2027-02-01T00:00:00.000Z", "2027-02-01T02:00:00+02:00", "2027-01-31t16:30:00.5-07:30"],
)
async def test_an_end_is_any_time_of_rfc_3339(alice: httpx.AsyncClient, moment: str) -> None:
    """With fractions of a second and offsets, such as JavaScript's `toISOString` writes it."""
    key_id = await made(alice, expiresAt=moment)
    expires = (await alice.get(keys_path(ALICE, key_id))).json()["expires"]
    assert expires.startswith("2027-02-01T00:00:0")


async def test_one_user_has_an_alias_once(alice: httpx.AsyncClient) -> None:
    """409, also for renaming. The alias is free again once its key is deleted."""
    laptop, other = await made(alice, alias="laptop"), await made(alice)
    assert (await refusal(await alice.post(keys_path(ALICE), json={"alias": "laptop"}))) == (
        409,
        "Another key has the alias laptop; choose a different one",
    )
    taken = await alice.patch(keys_path(ALICE, other), json={"alias": "laptop"})
    assert (taken.status_code, "retry-after" in taken.headers) == (409, False)
    assert (await alice.patch(keys_path(ALICE, laptop), json={"alias": "laptop"})).status_code == 200
    await alice.delete(keys_path(ALICE, laptop))
    await made(alice, alias="laptop")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"maxBudget": 10.01}, "maxBudget must be at most 10"),
        ({"tpmLimit": 1001}, "tpmLimit must be at most 1000"),
        ({"rpmLimit": 11}, "rpmLimit must be at most 10"),
        ({"models": ["gpt-fake", "claude-fake"]}, "models must be among gpt-fake"),
        ({"expiresIn": 86_401}, "A key may live at most 86400 seconds"),
        ({"expiresAt": "2027-01-16T08:00:01Z"}, "A key may live at most 86400 seconds"),
    ],
)
async def test_a_tier_is_not_exceeded(make_service: MakeService, asked: dict[str, Any], says: str) -> None:
    """403 that names the limit. An admin may exceed it for another user, but not for themselves."""
    service = tiered(make_service)
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)
    status, message = await refusal(await alice.post(keys_path(ALICE), json=asked))
    assert (status, says in message, "(tier userDefaults)" in message) == (403, True, True)
    assert service.litellm.rows.keys == {}
    assert (await bob.post(keys_path(BOB), json=asked)).status_code == 403
    assert (await bob.post(keys_path(ALICE), json=asked)).status_code == 201
    if not any(name.startswith("expires") for name in asked):
        key_id = await made(alice)
        assert (await alice.patch(keys_path(ALICE, key_id), json=asked)).status_code == 403
        assert (await bob.patch(keys_path(ALICE, key_id), json=asked)).status_code == 200


async def test_the_limits_of_a_tier_are_inclusive(make_service: MakeService, clock: Clock) -> None:
    """A key without a requested life gets the longest one."""
    service = tiered(make_service)
    alice = service.signed_in(ALICE)
    edge: dict[str, Any] = {
        "maxBudget": 10,
        "tpmLimit": 1000,
        "rpmLimit": 10,
        "models": ["gpt-fake"],
        "expiresIn": 86_400,
    }
    plain: dict[str, Any] = {}
    for body in (edge, plain):
        row = (await alice.get(keys_path(ALICE, await made(alice, **body)))).json()
        assert seconds_of(row["expires"], "expires") == clock() + 86_400


async def test_the_maximum_number_of_keys(make_service: MakeService, clock: Clock) -> None:
    """409 for one more, also for an admin. Deleted, expired and replaced keys do not count."""
    service = tiered(make_service)
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)
    first = await made(alice, expiresIn=60)
    second = await made(alice)
    for client in (alice, bob):
        status, message = await refusal(await client.post(keys_path(ALICE), json={}))
        assert (status, message) == (409, "The user has 2 keys; the tier userDefaults allows 2")
    assert (await alice.post(f"{keys_path(ALICE, second)}/regenerate", json={"overlap": 600})).status_code == 201
    assert (await alice.post(keys_path(ALICE), json={})).status_code == 409
    clock.advance(61)
    third = await made(alice, expiresIn=3600)
    assert (await alice.post(keys_path(ALICE), json={})).status_code == 409
    await alice.delete(keys_path(ALICE, third))
    assert (await alice.post(keys_path(ALICE), json={})).status_code == 201
    assert first in service.litellm.rows.keys


async def test_concurrent_requests_do_not_exceed_the_maximum(make_service: MakeService) -> None:
    """Keys of one user are created one after the other."""
    plain = tiered(make_service)
    service = make_service(ports={"litellm": Slow(plain.litellm)}, litellm=plain.settings.litellm)
    alice = service.signed_in(ALICE)
    answers = await asyncio.gather(*(alice.post(keys_path(ALICE)) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [409] * 8
    assert len(service.litellm.rows.keys) == 2


REFUSED_FIELDS = [
    "key", "user_id", "team_id", "agent_id", "organization_id", "project_id", "budget_id", "user_role", "key_type",
    "allowed_routes", "permissions", "object_permission", "guardrails", "policies", "prompts", "tags", "config",
    "aliases", "spend", "send_invite_email", "auto_rotate", "rotation_interval", "model_max_budget",
    "model_rpm_limit", "model_tpm_limit", "max_parallel_requests", "soft_budget", "allowed_cache_controls",
    "enforced_params", "allowed_passthrough_routes", "allowed_vector_store_indexes", "router_settings",
    "access_group_ids", "duration", "blocked", "key_alias", "max_budget",
]  # fmt: skip


@pytest.mark.parametrize("field", REFUSED_FIELDS)
async def test_other_fields_of_litellm_are_refused(
    make_service: MakeService, litellm: LiteLLMStandIn, field: str
) -> None:
    """400 for creating, changing and rotating; LiteLLM receives nothing."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    alice = make_service(ports={"litellm": wire}).signed_in(ALICE)
    key_id = await made(alice)
    wire.seen.clear()
    value = "sk-canary" if field == "key" else ["canary"]
    ways = [
        ("POST", keys_path(ALICE)),
        ("POST", f"{keys_path(ALICE, key_id)}/regenerate"),
        *([] if field == "blocked" else [("PATCH", keys_path(ALICE, key_id))]),
    ]
    for method, path in ways:
        status, message = await refusal(await alice.request(method, path, json={field: value}))
        assert (status, "has an unknown field; this operation accepts" in message, "canary" in message) == (
            400,
            True,
            False,
        )
    assert wire.seen == []


async def test_metadata_does_not_reach_litellms_own_names(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """LiteLLM gives some names a meaning, so callers' names are stored elsewhere."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    alice = make_service(ports={"litellm": wire}).signed_in(ALICE)
    special = {"temp_budget_increase": "1000", "guardrails": "none", "litellm_orchestrator": "x"}
    key_id = await made(alice, metadata=special)
    await alice.patch(keys_path(ALICE, key_id), json={"metadata": special | {"tags": "x"}})
    sent = [
        json.loads(request.content) for request in wire.seen if request.url.path in ("/key/generate", "/key/update")
    ]
    assert [list(body["metadata"]) for body in sent] == [["litellm_orchestrator"]] * 2
    assert (await alice.get(keys_path(ALICE, key_id))).json()["metadata"] == special | {"tags": "x"}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"expiresIn": 3600, "expiresAt": "2027-02-01T00:00:00Z"}, "either expiresIn or expiresAt"),
        ({"expiresAt": "2026-01-01T00:00:00Z"}, "at least 60 seconds from now"),
        ({"expiresAt": "2037-01-13T08:00:01Z"}, "at most 315360000 seconds (ten years) from now"),
        ({"expiresIn": 315_360_001}, "from 60 to 315360000 (ten years)"),
        ({"expiresAt": "2027-02-30T00:00:00Z"}, "a time such as"),
        ({"expiresAt": "tomorrow"}, "a time such as"),
        ({"expiresIn": 59}, "seconds from 60"),
        ({"expiresIn": 1.5}, "expiresIn must be seconds from 60"),
        ({"expiresIn": True}, "expiresIn must be seconds from 60"),
        ({"maxBudget": -1}, "USD from 0"),
        ({"maxBudget": None}, "maxBudget must be USD from 0"),
        ({"budgetDuration": "1y"}, "a duration such as"),
        ({"budgetDuration": "0d"}, "a duration such as"),
        ({"budgetDuration": "2mo"}, "a duration such as"),
        ({"models": ["gpt-fake", "gpt-fake"]}, "different models"),
        ({"models": ["gpt-9"]}, "among those that LiteLLM serves: claude-fake, gpt-fake"),
        ({"models": "gpt-fake"}, "models must be a list of at most 100"),
        ({"alias": ""}, "a text of 1 to 64"),
        ({"alias": "laptop\n"}, "a text of 1 to 64"),
        ({"alias": "laptop "}, "does not begin or end with a space"),
        ({"alias": "\u00a0laptop"}, "does not begin or end with a space"),
        ({"metadata": {"cost": 1}}, "metadata.cost must be a text of at most 256 characters"),
        ({"metadata": {"sk-1234567890": 1}}, "metadata must be a text"),
        ({"metadata": {"x" * 65: 1}}, "metadata must be a text"),
        ({"metadata": {"a\nb": 1}}, "metadata must be a text"),
        ({"alias": " laptop"}, "does not begin or end with a space"),
        ({"alias": "a\tb"}, "without control characters"),
        ({"alias": "x" * 65}, "1 to 64 characters"),
        ({"metadata": {"a": "x" * 257}}, "at most 256 characters"),
        ({"metadata": {"a": "\0"}}, "at most 256 characters"),
        ({"metadata": {"\0": "a"}}, "without NUL"),
        ({"metadata": {"": "a"}}, "1 to 64 characters"),
        ({"metadata": {str(n): "" for n in range(17)}}, "at most 16 texts"),
        ({"tpmLimit": -1}, "a whole number from 0"),
        ({"rpmLimit": 2**63}, "a whole number from 0"),
    ],
    ids=str,
)
async def test_invalid_properties_are_refused(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, asked: dict[str, Any], says: str
) -> None:
    """400 that says what would be right, and no key."""
    status, message = await refusal(await alice.post(keys_path(ALICE), json=asked))
    assert (status, says in message) == (400, True), message
    assert litellm.rows.keys == {}


async def test_a_name_in_metadata_that_is_a_secret_is_not_repeated(alice: httpx.AsyncClient) -> None:
    """Metadata names are free text of the caller; a harmless one is repeated, to say where the fault is."""
    status, message = await refusal(await alice.post(keys_path(ALICE), json={"metadata": {"sk-canary-0123456789": 5}}))
    assert (status, "canary" in message) == (400, False)


async def test_changing_a_key(alice: httpx.AsyncClient) -> None:
    """An absent field stays, null clears, metadata is replaced as a whole."""
    path = keys_path(ALICE, await made(alice, **LAPTOP))
    kept = (await alice.patch(path, json={})).json()
    assert (kept["key_alias"], kept["max_budget"], kept["metadata"]) == ("laptop", 5, {"team": "search"})
    cleared: dict[str, Any] = dict.fromkeys(["alias", "models", "maxBudget", "budgetDuration", "tpmLimit", "rpmLimit"])
    row = (await alice.patch(path, json={**cleared, "metadata": {}})).json()
    assert [row[name] for name in ("key_alias", "models", "max_budget", "budget_duration")] == [None, [], None, None]
    assert [row[name] for name in ("tpm_limit", "rpm_limit", "metadata")] == [None, None, {}]
    changed = (await alice.patch(path, json={"alias": "desktop", "rpmLimit": 0, "maxBudget": 0})).json()
    assert (changed["key_alias"], changed["rpm_limit"], changed["max_budget"]) == ("desktop", 0, 0)


UNCHANGED = respond(200, json={})


@pytest.mark.parametrize(
    ("asked", "ignored"),
    [
        ({"blocked": True}, "blocked"),
        ({"maxBudget": 0}, "max_budget"),
        ({"models": ["gpt-fake"]}, "models"),
        ({"alias": "a"}, "alias"),
        ({"metadata": {"a": "b"}, "tpmLimit": 5, "rpmLimit": 0}, "metadata, tpm_limit, rpm_limit"),
    ],
    ids=str,
)
async def test_what_litellm_ignores_is_not_taken_for_done(
    make_service: MakeService, litellm: LiteLLMStandIn, asked: dict[str, Any], ignored: str
) -> None:
    """It says 200 and leaves the key as it was: a 502 that names what is not there, 0 and false included."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {"/key/update": UNCHANGED})
    alice = make_service(ports={"litellm": wire}).signed_in(ALICE)
    path = keys_path(ALICE, await made(alice))
    status, message = await refusal(await alice.patch(path, json=asked))
    assert (status, sorted(message.split(", "))) == (502, sorted(f"LiteLLM ignored {ignored}".split(", "))), message


async def test_no_value_and_an_empty_one_are_the_same(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """A key of LiteLLM's own pages has null where others have an empty list, or false: nothing was ignored."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {"/key/update": UNCHANGED})
    alice = make_service(ports={"litellm": wire}).signed_in(ALICE)
    path = keys_path(ALICE, await made(alice))
    same: dict[str, Any] = {"blocked": False, "models": None, "maxBudget": None, "metadata": {}}
    assert (await alice.patch(path, json=same)).status_code == 200


async def test_a_key_created_elsewhere_keeps_its_metadata(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Its metadata is visible, and a change here does not lose it."""
    await alice.get(keys_path(ALICE))
    row, _ = litellm.rows.add_key({"user_id": ALICE, "key_alias": "old", "metadata": {"guardrails": ["pii"]}})
    path = keys_path(ALICE, row["token"])
    assert (await alice.get(path)).json()["metadata"] == {"guardrails": ["pii"]}
    changed = (await alice.patch(path, json={"alias": "mine"})).json()
    assert (changed["key_alias"], changed["metadata"]) == ("mine", {"guardrails": ["pii"]})
    await alice.patch(path, json={"metadata": {"a": "b"}})
    assert litellm.rows.keys[row["token"]]["metadata"]["guardrails"] == ["pii"]


async def test_an_etag_names_what_can_be_changed(alice: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """Its first part changes with a change and not with spending. A change that expects another version is a 412."""
    key_id = await made(alice, alias="a")
    path = keys_path(ALICE, key_id)
    first = (await alice.get(path)).headers["etag"]
    litellm.rows.keys[key_id] |= {"spend": 3.5, "last_active": litellm.rows.stamp()}
    spent = (await alice.get(path)).headers["etag"]
    assert spent.partition("-")[0] == first.partition("-")[0]
    assert spent != first
    changed = await alice.patch(path, json={"alias": "b"}, headers={"If-Match": first})
    assert changed.status_code == 200
    assert changed.headers["etag"] == (await alice.get(path)).headers["etag"] != first
    for method, suffix, body in (("PATCH", "", {"alias": "c"}), ("POST", "/regenerate", {}), ("DELETE", "", None)):
        stale = await alice.request(method, path + suffix, json=body, headers={"If-Match": first})
        assert await refusal(stale) == (412, "The key has changed; read it again")
    assert (await alice.get(path)).json()["key_alias"] == "b"


@pytest.mark.parametrize(
    ("sent", "status"), [("*", 200), ('"x", {}', 200), ("W/{}", 412), ("unquoted", 412), ('""', 412)]
)
async def test_forms_of_if_match(alice: httpx.AsyncClient, sent: str, status: int) -> None:
    """`*` and one of several match; a weak or malformed tag never does."""
    path = keys_path(ALICE, await made(alice))
    tag = (await alice.get(path)).headers["etag"]
    assert (await alice.patch(path, json={}, headers={"If-Match": sent.format(tag)})).status_code == status


async def test_of_two_changes_to_one_version_one_succeeds(make_service: MakeService) -> None:
    """Two concurrent changes expect the same version: one succeeds, the other is a 412."""
    alice = make_service().signed_in(ALICE)
    path = keys_path(ALICE, await made(alice))
    tag = {"If-Match": (await alice.get(path)).headers["etag"]}
    answers = await asyncio.gather(*(alice.patch(path, json={"alias": f"a{n}"}, headers=tag) for n in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412]


async def test_blocking_and_unblocking(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """The subject who blocked a key and admins may unblock it. Owners cannot unblock what an admin blocked."""
    path = keys_path(ALICE, await made(alice))
    assert (await alice.patch(path, json={"blocked": True})).json()["blocked"] is True
    assert (await alice.patch(path, json={"blocked": False})).json()["blocked"] is False
    await bob.patch(path, json={"blocked": True})
    status, message = await refusal(await alice.patch(path, json={"blocked": False}))
    assert (status, "Only an admin may unblock" in message) == (403, True)
    assert (await alice.patch(path, json={"alias": "renamed"})).status_code == 200
    assert (await bob.patch(path, json={"blocked": False})).json()["blocked"] is False


async def test_only_an_admin_unblocks_a_key_that_was_blocked_elsewhere(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """In LiteLLM itself, or by the cleanup."""
    key_id = await made(alice)
    litellm.rows.update_key(key_id, {"blocked": True})
    assert (await alice.patch(keys_path(ALICE, key_id), json={"blocked": False})).status_code == 403


async def test_pages_of_keys(alice: httpx.AsyncClient, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """Newest first; new keys do not shift later pages; without a limit there is one page."""
    ids = []
    for _ in range(5):
        clock.advance(1)
        ids.append(await made(alice))
    seen: list[str] = []
    page = await alice.get(keys_path(ALICE), params={"limit": 2})
    while True:
        seen += [row["token"] for row in page.json()["keys"]]
        if page.json()["nextCursor"] is None:
            break
        assert "link" in page.headers
        clock.advance(1)
        await made(alice)
        page = await alice.get(page.headers["link"].split(">")[0][1:])
    assert seen == ids[::-1]
    everything = (await alice.get(keys_path(ALICE))).json()
    assert (len(everything["keys"]), "nextCursor" in everything) == (7, False)


async def test_keys_by_status(alice: httpx.AsyncClient, clock: Clock) -> None:
    """Active, blocked, expired."""
    ids = {"active": await made(alice), "blocked": await made(alice), "expired": await made(alice, expiresIn=60)}
    await alice.patch(keys_path(ALICE, ids["blocked"]), json={"blocked": True})
    clock.advance(61)
    for status, key_id in ids.items():
        listed = (await alice.get(keys_path(ALICE), params={"status": status})).json()["keys"]
        assert [row["token"] for row in listed] == [key_id]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=101", "limit=1_0", "limit=%D9%A1", "limit=1.0", "limit=", "limit=5&limit=5", "limit=+5",
        "cursor=!", "cursor=", "cursor=e30", "cursor=WzFd", "cursor=WyJhIl0", "status=sleeping", "alias=", "Limit=5",
        "a", "&", "limit=%FF",
    ],
)  # fmt: skip
async def test_invalid_queries_are_refused(alice: httpx.AsyncClient, litellm: LiteLLMStandIn, query: str) -> None:
    """400, before LiteLLM is called."""
    answer = await alice.get(f"{keys_path(ALICE)}?{query}")
    assert answer.status_code == 400, answer.text
    assert litellm.requests == []


async def test_a_key_of_another_user_is_not_visible(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """404 on the caller's own path, 403 on the other user's, for reading, changing and rotating."""
    await made(alice)
    his = await made(bob, BOB)
    for owner, status in ((ALICE, 404), (BOB, 403)):
        path = keys_path(owner, his)
        answers = [
            await alice.get(path),
            await alice.patch(path, json={"alias": "mine"}),
            await alice.post(f"{path}/regenerate"),
        ]
        assert [answer.status_code for answer in answers] == [status] * 3
    assert (await bob.get(keys_path(BOB, his))).json()["key_alias"] is None


async def test_an_admin_lists_the_keys_of_others(bob: httpx.AsyncClient, litellm: LiteLLMStandIn) -> None:
    """No keys is an empty list for a user who exists, and a 404 for one who does not: a name may be mistyped."""
    litellm.rows.add_user({"user_id": ALICE})
    assert (await bob.get(keys_path(ALICE))).json()["keys"] == []
    assert (await bob.get(keys_path("user:default/alcie"))).status_code == 404


@pytest.mark.parametrize(
    ("method", "suffix"), [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/regenerate")], ids=str
)
async def test_a_first_request_about_a_key_creates_its_owner(
    alice: httpx.AsyncClient, litellm: LiteLLMStandIn, method: str, suffix: str
) -> None:
    """There is no such key yet; from then on there is the user, as after any other first request."""
    body: dict[str, Any] | None = {} if method in ("PATCH", "POST") else None
    answer = await alice.request(method, keys_path(ALICE, "0" * 64) + suffix, json=body)
    assert (answer.status_code, list(litellm.rows.users)) == (404, [ALICE])
