"""Rows of LiteLLM that another tool, an older version or a person with SQL has left odd: they spoil no list."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import pytest

from clients.litellm.fields import KeyRow, UserRow
from clients.litellm.odd import KEYS, USERS, OddRows
from clients.litellm.rows import ANNOTATIONS
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path, user_path
from tests.support.contract import CONTRACT_DOCUMENT, is_valid
from tests.support.metrics import metrics_of
from tests.support.upstreams import Overriding, respond
from tests.support.user_list import listing

VALUES: list[Any] = [None, 5, "soon", {}]
"""A null, a number for a text, a text for a number or a time, an object."""
LATE = "20000-01-01T00:00:00Z"
"""LiteLLM fails to show a row with it, and every page with such a row."""
NOTHING = ["no-default-models"]
CAROL_TOO = "user:default/carol.too"
AS_SHOWN = {"user_alias": "displayName", "user_email": "email", "metadata": "tier"} | {
    name: name.partition("_")[0] + name.partition("_")[2].capitalize()
    for name in ("created_at", "max_budget", "budget_duration", "tpm_limit", "rpm_limit")
}
"""What the API calls the columns of a user."""
STRICT = {"maxBudget": 0, "tpmLimit": 0, "rpmLimit": 0, "models": NOTHING}
"""What is shown for a limit that makes no sense."""


def lines(log: io.StringIO) -> list[tuple[str, str, str]]:
    """Table, row and column of each line about an odd row."""
    found = [json.loads(line) for line in log.getvalue().splitlines() if "odd" in line]
    return [(row["table"], row["row"], row["column"]) for row in found if "column" in row]


def add_key(litellm: LiteLLMStandIn, user_id: str = ALICE, **fields: Any) -> str:
    """A key with columns that somebody has written."""
    row, _ = litellm.rows.add_key({"user_id": user_id, "max_budget": 5})
    row |= {"expires": litellm.rows.stamp(3600), **fields}
    return str(row["token"])


@pytest.mark.parametrize("column", sorted(set(KeyRow.__struct_fields__) - {"token", "user_id"}))
async def test_a_column_of_a_key(service: Service, litellm: LiteLLMStandIn, column: str, log: io.StringIO) -> None:
    """The list is a 200 with the key and all others; what makes no sense is left out and named, or allows nothing."""
    alice = service.signed_in(ALICE)
    await alice.get(user_path(ALICE))
    other, key_id = add_key(litellm), add_key(litellm)
    row, before = litellm.rows.keys[key_id], dict(litellm.rows.keys[key_id])
    schema = CONTRACT_DOCUMENT["components"]["schemas"]["UserAPIKeyAuth"]
    usual = {row["token"]: row for row in (await alice.get(keys_path(ALICE))).json()["keys"]}
    odd = 0
    for value in VALUES:
        row[column] = value
        listed = {row["token"]: row for row in (await alice.get(keys_path(ALICE))).json()["keys"]}
        assert (set(listed), listed[other]) == ({key_id, other}, usual[other]), value
        single = await alice.get(keys_path(ALICE, key_id))
        assert (single.status_code, single.json()) == (200, listed[key_id]), value
        shown = listed[key_id]
        if is_valid(value, schema["properties"][column]):
            assert (shown[column], "oddFields" in shown) == (value, False), value
        else:
            odd += 1
            assert shown["oddFields"] == [column], value
            assert shown.get(column) == {"models": NOTHING, "spend": 5, "metadata": {}}.get(column), value
            assert (column in shown) is (column in schema["required"]), value
        row |= before
    assert lines(log) == [(KEYS, key_id, column)]
    counted = (await metrics_of(service))[f'odd_rows_total{{column="{column}",table="{KEYS}"}}']
    assert counted == 2 * odd


@pytest.mark.parametrize("column", sorted(set(UserRow.__struct_fields__) - {"user_id"}))
async def test_a_column_of_a_user(service: Service, litellm: LiteLLMStandIn, column: str, log: io.StringIO) -> None:
    """The list is a 200 with the user and all others; what makes no sense allows nothing, and is named."""
    bob = service.signed_in(BOB)
    for user_id in (ALICE, CAROL_TOO):
        litellm.rows.add_user({"user_id": user_id, "max_budget": 50})
    row, before = litellm.rows.users[ALICE], dict(litellm.rows.users[ALICE])
    usual = {row["userId"]: row for row in (await bob.get(f"{BASE}/users")).json()["users"]}
    schema = CONTRACT_DOCUMENT["components"]["schemas"]["ListedUser"]["properties"]
    name = AS_SHOWN.get(column, column)
    odd = 0
    for value in VALUES:
        row[column] = value
        listed = {row["userId"]: row for row in (await bob.get(f"{BASE}/users")).json()["users"]}
        assert (listed.keys(), listed[CAROL_TOO]) == (usual.keys(), usual[CAROL_TOO]), value
        single = await bob.get(user_path(ALICE))
        assert (single.status_code, listed[ALICE] | single.json()) == (200, listed[ALICE]), value
        assert (await bob.get(f"{user_path(ALICE)}/usage")).status_code == 200
        shown = listed[ALICE]
        makes_sense = {"metadata": value in (None, {}), "models": value is None}.get(column)
        if makes_sense is None and name in schema:
            makes_sense = is_valid(value, schema[name])
        if makes_sense or column in ("updated_at", "budget_reset_at"):
            assert shown == usual[ALICE] | (
                {name: value} if name in schema and column not in ("metadata", "models") else {}
            )
        else:
            odd += 1
            assert shown["oddFields"] == [name], value
            assert shown[name] == {**STRICT, "spend": 50, "createdAt": usual[ALICE]["createdAt"]}.get(name), value
            assert shown["status"] == ("overBudget" if name in ("maxBudget", "spend") else "active"), value
        row |= before
    if odd:
        assert lines(log) == [(USERS, ALICE, column)]


@pytest.mark.parametrize("value", VALUES, ids=str)
async def test_a_user_without_an_id(make_service: MakeService, litellm: LiteLLMStandIn, value: Any) -> None:
    """The sweep goes past the row: everybody else is listed."""
    for user_id in (ALICE, BOB):
        litellm.rows.add_user({"user_id": user_id})
    rows = [*litellm.rows.users.values(), litellm.rows.users[BOB] | {"user_id": value}]
    transport = Overriding(httpx.ASGITransport(litellm.app), {"/user/list": listing(lambda: rows)})
    listed = await make_service(ports={"litellm": transport}).signed_in(BOB).get(f"{BASE}/users")
    assert [row["userId"] for row in listed.json()["users"]] == [ALICE, BOB]


@pytest.mark.parametrize("value", ["soon", "sk-canary-0123456789", "AB" * 32, *VALUES[:2], "", {}], ids=str)
async def test_a_key_without_an_id(
    make_service: MakeService, litellm: LiteLLMStandIn, value: Any, log: io.StringIO
) -> None:
    """A text may be a secret: its hash stands for it, so the key still counts. Nothing else can be shown."""
    other, key_id = add_key(litellm), add_key(litellm)

    def listed(_: httpx.Request) -> httpx.Response:
        rows = [litellm.rows.keys[other], litellm.rows.keys[key_id] | {"token": value}]
        return httpx.Response(200, json={"keys": rows, "total_pages": 1})

    transport = Overriding(httpx.ASGITransport(litellm.app), {"/key/list": listed})
    alice = make_service(ports={"litellm": transport}).signed_in(ALICE)
    answer = await alice.get(keys_path(ALICE))
    rows = {row["token"]: row.get("oddFields") for row in answer.json()["keys"]}
    assert (answer.status_code, rows.pop(other)) == (200, None)
    assert list(rows.values()) == ([["token"]] if isinstance(value, str) and value else [])
    assert (len(lines(log)), "canary" in answer.text + log.getvalue()) == (1, False)


async def test_a_line_is_logged_once(service: Service, litellm: LiteLLMStandIn, log: io.StringIO) -> None:
    """However often the row is read; the metric counts each time, and names nobody."""
    key_id = add_key(litellm, BOB, created_at=None, blocked="canary")
    bob = service.signed_in(BOB)
    for _ in range(3):
        await bob.get(keys_path(BOB))
    assert sorted(lines(log)) == [(KEYS, key_id, "blocked"), (KEYS, key_id, "created_at")]
    assert (await metrics_of(service))[f'odd_rows_total{{column="blocked",table="{KEYS}"}}'] == 3
    assert "canary" not in log.getvalue() + (await service.client().get("/metrics")).text


def test_the_log_ends_before_the_memory(log: io.StringIO) -> None:
    """A table that is odd throughout fills neither."""
    counted: list[str] = []
    odd = OddRows(lambda _, column: counted.append(column))
    for number in range(1500):
        odd.note(KEYS, str(number), ["spend"])
    odd.note(KEYS, "0", ["spend"])
    assert (len(lines(log)), len(counted)) == (1000, 1501)


@pytest.mark.parametrize(("column", "value"), [("blocked", "true"), ("expires", 5), ("max_budget", "5"), ("models", 5)])
async def test_nothing_is_decided_on_an_odd_row(
    service: Service, litellm: LiteLLMStandIn, column: str, value: Any
) -> None:
    """It counts as blocked, cannot be changed or rotated, and still counts as a key; it can be deleted."""
    alice = service.signed_in(ALICE)
    await alice.get(user_path(ALICE))
    key_id = add_key(litellm, **{column: value})
    before = dict(litellm.rows.keys[key_id])
    listed = (await alice.get(keys_path(ALICE), params={"status": "active"})).json()["keys"]
    assert [row["token"] for row in listed] == ([] if column in ("blocked", "expires") else [key_id])
    for answer in (
        await alice.patch(keys_path(ALICE, key_id), json={"blocked": False}),
        await alice.post(f"{keys_path(ALICE, key_id)}/regenerate"),
        await alice.post(keys_path(ALICE), json={"alias": "one more"}),
    ):
        assert (answer.status_code, column in answer.json()["message"]) == (502, True)
    assert litellm.rows.keys == {key_id: before}
    assert (await alice.delete(keys_path(ALICE, key_id))).status_code == 204
    assert litellm.rows.keys == {}


@pytest.mark.parametrize("odd", [{"expires": 5}, {"max_budget": "5"}, {"models": None}, {"metadata": 5}])
@pytest.mark.parametrize("caller", [ALICE, BOB])
async def test_an_odd_key_can_be_blocked(
    service: Service, litellm: LiteLLMStandIn, odd: dict[str, Any], caller: str
) -> None:
    """By its owner and by an admin, and nothing else of it changes."""
    await service.signed_in(ALICE).get(user_path(ALICE))
    key_id = add_key(litellm, **odd)
    before = dict(litellm.rows.keys[key_id])
    answer = await service.signed_in(caller).patch(keys_path(ALICE, key_id), json={"blocked": True})
    assert (answer.status_code, answer.json()["blocked"]) == (200, True)
    after = litellm.rows.keys[key_id]
    assert {name for name in after if after[name] != before.get(name)} <= {"blocked", "updated_at"}


@pytest.mark.parametrize("odd", [{"expires": 5}, {"max_budget": "5"}, {"models": None}])
async def test_an_odd_key_says_that_it_was_reported(
    service: Service, litellm: LiteLLMStandIn, odd: dict[str, Any]
) -> None:
    """LiteLLM's annotation says so, although nothing is decided on such a row."""
    alice = service.signed_in(ALICE)
    created = (await alice.post(keys_path(ALICE), json={"alias": "leaked"})).json()
    litellm.rows.keys[created["keyId"]].update(odd)
    secret = created["keySecret"]
    assert (await alice.post(f"{BASE}/keys/report", json={"key": secret})).status_code == 202
    await service.run_background_jobs()
    row = litellm.rows.keys[created["keyId"]]
    assert (row["blocked"], row["metadata"][ANNOTATIONS]["blocked_as"]) == (True, "report")


async def test_a_number_beyond_64_bits(service: Service, litellm: LiteLLMStandIn) -> None:
    """It is shown as LiteLLM 1.109 shows it itself, and the key can be changed."""
    alice = service.signed_in(ALICE)
    await alice.get(user_path(ALICE))
    key_id = add_key(litellm, metadata={"n": 10**23}, model_spend={"gpt-fake": 10**23})
    (row,) = (await alice.get(keys_path(ALICE))).json()["keys"]
    assert (row["metadata"], row["model_spend"]) == ({"n": 1e23}, {"gpt-fake": 1e23})
    assert (await alice.patch(keys_path(ALICE, key_id), json={"alias": "large"})).status_code == 200


async def test_a_key_that_is_older_than_the_column_for_its_time(service: Service, litellm: LiteLLMStandIn) -> None:
    """Everything can be done with it."""
    alice = service.signed_in(ALICE)
    await alice.get(user_path(ALICE))
    key_id = add_key(litellm, created_at=None, allowed_routes=["llm_api_routes"], key_type="llm_api")
    assert (await alice.patch(keys_path(ALICE, key_id), json={"alias": "old"})).status_code == 200
    for blocked, by in ((True, "owner"), (False, None)):
        changed = (await alice.patch(keys_path(ALICE, key_id), json={"blocked": blocked})).json()
        assert (changed["blocked"], changed["blockedBy"]) == (blocked, by)
    assert (await alice.post(f"{keys_path(ALICE, key_id)}/regenerate")).status_code == 201


async def test_when_a_user_was_created(service: Service, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """LiteLLM's time, else that of the last change, else when a sweep first saw them, else now."""
    bob = service.signed_in(BOB)
    row = litellm.rows.add_user({"user_id": ALICE})

    async def created() -> set[str]:
        users = (await bob.get(f"{BASE}/users", params={"query": ALICE})).json()["users"]
        return {(await bob.get(user_path(ALICE))).json()["createdAt"], *(row["createdAt"] for row in users)}

    row["created_at"], row["updated_at"] = None, "2026-05-01T00:00:00Z"
    assert await created() == {"2026-05-01T00:00:00Z"}
    row["updated_at"] = None
    assert await created() == {"2027-01-15T08:00:00Z"}
    clock.advance(86400)
    bob = service.signed_in(BOB)
    await service.run_background_jobs()
    await bob.post(f"{BASE}/cleanup", json={"dryRun": True})
    assert await created() == {"2027-01-15T08:00:00Z"}


async def test_a_user_whom_no_sweep_has_seen(service: Service, litellm: LiteLLMStandIn) -> None:
    """They exist now, at the latest."""
    litellm.rows.add_user({"user_id": ALICE}).update(created_at=None, updated_at=None)
    assert (await service.signed_in(ALICE).get(user_path(ALICE))).json()["createdAt"] == "2027-01-15T08:00:00Z"


async def test_a_user_without_a_time_can_be_changed(service: Service, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """The change moves `updated_at`, which is shown: they are not taken for another user, and not deleted."""
    bob = service.signed_in(BOB)
    litellm.rows.add_user({"user_id": ALICE})["created_at"] = None
    clock.advance(60)
    answer = await bob.patch(user_path(ALICE), json={"maxBudget": 7})
    assert (answer.status_code, answer.json()["maxBudget"]) == (200, 7)
    assert litellm.rows.users[ALICE]["max_budget"] == 7


async def test_an_odd_budget_is_mended_by_a_new_one(service: Service, litellm: LiteLLMStandIn) -> None:
    """An admin's change replaces it; the audit log does not claim what it was."""
    bob = service.signed_in(BOB)
    litellm.rows.add_user({"user_id": ALICE})["max_budget"] = "much"
    answer = await bob.patch(user_path(ALICE), json={"maxBudget": 7})
    assert (answer.status_code, answer.json().get("oddFields")) == (200, None)
    (event,) = (await bob.get(f"{BASE}/audit", params={"target": ALICE})).json()["events"]
    assert ("max_budget" in event["before"], event["after"]["max_budget"]) == (False, 7)


async def test_a_key_that_litellm_fails_to_show(service: Service, litellm: LiteLLMStandIn, log: io.StringIO) -> None:
    """250 others are listed, in few calls; a decision about all keys of the user fails, because one is missing."""
    alice = service.signed_in(ALICE)
    await alice.get(user_path(ALICE))
    others = {add_key(litellm) for _ in range(250)}
    add_key(litellm, expires=LATE)
    litellm.requests.clear()
    answer = await alice.get(keys_path(ALICE))
    assert (answer.status_code, {row["token"] for row in answer.json()["keys"]}) == (200, others)
    assert len(litellm.requests) <= 24
    assert lines(log) == [(KEYS, ALICE, "*")]
    refused = await alice.post(keys_path(ALICE), json={"alias": "one more"})
    assert (refused.status_code, refused.json()["message"]) == (502, "LiteLLM does not show 1 keys of the user")


async def test_users_whom_litellm_fails_to_show(service: Service, litellm: LiteLLMStandIn, log: io.StringIO) -> None:
    """They are listed with what is known: that they exist, since when, and nothing that would allow anything."""
    bob = service.signed_in(BOB)
    names = [f"user:default/u{number:03}" for number in range(250)]
    for user_id in names:
        litellm.rows.add_user({"user_id": user_id})
    assert (await bob.get(f"{BASE}/users")).status_code == 200
    for user_id in (names[7], names[9]):
        litellm.rows.users[user_id]["created_at"] = LATE
    page = (await bob.get(f"{BASE}/users", params={"limit": 100})).json()["users"]
    assert [row["userId"] for row in page] == names[:100]
    odd = [row for row in page if "oddFields" in row]
    assert [row["userId"] for row in odd] == [names[7], names[9]]
    for row in odd:
        assert (
            row.items() >= {**STRICT, "spend": 0, "createdAt": "2027-01-15T08:00:00Z", "status": "overBudget"}.items()
        )
    alone = await bob.get(user_path(names[7]))
    assert (alone.status_code, odd[0] | alone.json()) == (200, odd[0])
    assert sorted(set(lines(log))) == [(USERS, names[7], "*"), (USERS, names[9], "*")]
    assert (await bob.get(user_path("user:default/nobody"))).status_code == 404


async def test_a_litellm_that_fails_altogether(make_service: MakeService, litellm: LiteLLMStandIn) -> None:
    """That is no row's fault: a 502 after two calls, not after one for each row."""
    litellm.rows.add_user({"user_id": ALICE})
    failing = Overriding(httpx.ASGITransport(litellm.app), {})
    bob = make_service(ports={"litellm": failing}).signed_in(BOB)
    await bob.get(f"{BASE}/users")
    for path in ("/key/list", "/user/list"):
        failing.answers[path] = respond(500)
    for path in (keys_path(ALICE), user_path(ALICE), f"{BASE}/users"):
        failing.seen.clear()
        assert ((await bob.get(path)).status_code, len(failing.seen)) == (502, 2), path
