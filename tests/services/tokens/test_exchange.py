"""Exchanging a workload's token for a key of minutes."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from clients.litellm.rows import ANNOTATIONS
from domain.due import Kind
from domain.users import Tier
from domain.workloads import KeyTerms
from standalone.backstage import BackstageStandIn
from standalone.environment import CHECKOUT, PIPELINE
from standalone.issuer import IssuerStandIn
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path, user_path
from tests.support.audit import events, nothing_is_open
from tests.support.keys import chat, id_of
from tests.support.kill_points import Killed, KillSwitch
from tests.support.metrics import parsed
from tests.support.requests import exchange, run_cleanup
from tests.support.upstreams import Answer, Overriding, move_and_lose, respond

DAVE = "user:default/dave"
NOT_ACCEPTED = {"error": "invalid_grant", "error_description": "The token is not accepted for this client_id"}
_MOST_STEPS = 60


async def given(client: httpx.AsyncClient, token: str) -> dict[str, Any]:
    response = await exchange(client, token)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def given_twice(service: Service, token: str, clock: Clock) -> list[str]:
    """The two keys that a token may have; the next exchange is a third one."""
    secrets = []
    for _ in range(2):
        secrets.append((await given(service.client(), token))["access_token"])
        clock.advance(60)
    return secrets


def ruled(make_service: MakeService, **changes: Any) -> Service:
    """A service whose rule for the pipeline is changed."""
    workloads = make_service().settings.workloads
    (rule,) = workloads.rules
    return make_service(workloads=replace(workloads, rules=(replace(rule, **changes),)))


async def test_a_pipeline_gets_a_key_that_works(
    nobody: httpx.AsyncClient, issuer: IssuerStandIn, litellm: LiteLLMStandIn
) -> None:
    """It is the component's, for model calls only, with the limits of the rule, and named after rule and run."""
    response = await exchange(nobody, issuer.token(run_id="8142"))
    body = response.json()
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert body | {"access_token": "?"} == {
        "access_token": "?",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer",
        "expires_in": 300,
    }
    assert await chat(litellm, body["access_token"]) == 200
    (row,) = litellm.rows.keys.values()
    assert (row["user_id"], row["max_budget"], row["key_type"]) == (CHECKOUT, 1.0, "llm_api")
    assert row["key_alias"].startswith("checkout.checkout-pipeline-8142.")


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (8142, "8142"),
        (" 8142 ", "8142"),
        ("8" * 100, "8" * (64 - len(f"{PIPELINE} "))),
        (f"{'8' * (63 - len(f'{PIPELINE} '))} 142", "8" * (63 - len(f"{PIPELINE} "))),
        ("a\u202eb", None),
        (" ", None),
        (["8142"], None),
    ],
    ids=ascii,
)
async def test_the_name_of_a_run(
    nobody: httpx.AsyncClient, issuer: IssuerStandIn, litellm: LiteLLMStandIn, run: Any, name: str | None
) -> None:
    """At most 64 characters with the rule's, none of which hides; else it is the beginning of what names the token."""
    token = issuer.token(run_id=run)
    await given(nobody, token)
    (row,) = litellm.rows.keys.values()
    rule, _, named = row["metadata"][ANNOTATIONS]["alias"].partition(" ")
    assert rule == PIPELINE
    assert named == name if name else re.fullmatch("[0-9a-f]{8}", named)


async def test_a_key_whose_end_is_near_when_it_is_given(
    make_service: MakeService, issuer: IssuerStandIn, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """LiteLLM took as long as the key lives: the answer says one second, never zero."""

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            clock.advance(2 if request.url.path == "/key/generate" else 0)
            return await httpx.ASGITransport(litellm.app).handle_async_request(request)

    token = issuer.token(exp=int(clock()) + 2)
    assert (await given(make_service(ports={"litellm": Slow()}).client(), token))["expires_in"] == 1


async def test_it_lives_no_longer_than_the_rule_says_and_the_token(
    nobody: httpx.AsyncClient, issuer: IssuerStandIn, clock: Clock
) -> None:
    """Whichever is less."""
    now = int(clock())
    long = await given(nobody, issuer.token(exp=now + 3600, jti="long"))
    short = await given(nobody, issuer.token(exp=now + 30, jti="short"))
    assert (long["expires_in"], short["expires_in"]) == (900, 30)


@pytest.mark.parametrize(("waited", "left"), [(20, 10), (29, 1), (30, None)])
async def test_it_does_not_outlive_a_token_that_had_to_wait(
    make_service: MakeService,
    issuer: IssuerStandIn,
    litellm: LiteLLMStandIn,
    clock: Clock,
    *,
    waited: float,
    left: int | None,
) -> None:
    """What LiteLLM and the catalog take before the key is made is no part of its life."""
    token = issuer.token(exp=int(clock()) + 30)

    class Slow(httpx.AsyncBaseTransport):
        waits = waited

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            clock.advance(self.waits)
            self.waits = 0
            return await httpx.ASGITransport(litellm.app).handle_async_request(request)

    answer = await exchange(make_service(ports={"litellm": Slow()}).client(), token)
    if left is None:
        assert answer.json() == NOT_ACCEPTED
        assert litellm.rows.keys == {}
    else:
        assert answer.json()["expires_in"] == left


async def test_it_stays_within_the_tier_of_the_owner(
    make_service: MakeService, issuer: IssuerStandIn, litellm: LiteLLMStandIn
) -> None:
    """What the rule says beyond it is cut, also the models."""
    service = ruled(make_service, key=KeyTerms(900, ("gpt-fake", "claude-fake"), 500.0, 9000, 90))
    tier = Tier(max_budget=2.0, models=("gpt-fake",), tpm_limit=100, rpm_limit=10, max_key_life=120)
    (component, *others) = service.settings.owners
    service = make_service(owners=(replace(component, tier=tier), *others), workloads=service.settings.workloads)
    assert (await given(service.client(), issuer.token()))["expires_in"] == 120
    (row,) = litellm.rows.keys.values()
    assert [row[name] for name in ("models", "max_budget", "tpm_limit", "rpm_limit")] == [["gpt-fake"], 2.0, 100, 10]


async def test_a_rule_none_of_whose_models_the_owner_may_call_gives_nothing(
    make_service: MakeService, issuer: IssuerStandIn, litellm: LiteLLMStandIn
) -> None:
    """An empty list would allow all of them."""
    service = ruled(make_service, key=KeyTerms(models=("claude-fake",)))
    (component, *others) = service.settings.owners
    tier = replace(component.tier, models=("gpt-fake",))
    service = make_service(owners=(replace(component, tier=tier), *others), workloads=service.settings.workloads)
    response = await exchange(service.client(), issuer.token())
    assert (response.status_code, response.json()) == (400, NOT_ACCEPTED)
    assert litellm.rows.keys == {}


@pytest.mark.parametrize(
    ("changes", "claims", "error"),
    [
        ({"grant_type": "password"}, {}, "unsupported_grant_type"),
        ({"grant_type": ""}, {}, "invalid_request"),
        ({"client_id": ""}, {}, "invalid_request"),
        ({"client_id": "nobody"}, {}, "invalid_client"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, {}, "invalid_request"),
        ({"subject_token": ""}, {}, "invalid_request"),
        ({"scope": "all"}, {}, "invalid_scope"),
        ({"audience": "https://elsewhere"}, {}, "invalid_target"),
        ({"resource": "https://elsewhere"}, {}, "invalid_target"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, {}, "invalid_request"),
        ({"actor_token": "x"}, {}, "invalid_request"),
        ({"actor_token_type": "urn:ietf:params:oauth:token-type:jwt"}, {}, "invalid_request"),
        ({}, {"sub": "repo:mallory/checkout:main"}, "invalid_grant"),
        ({}, {"aud": "somebody-else"}, "invalid_grant"),
        ({}, {"exp": 1}, "invalid_grant"),
        ({"subject_token": "no-token"}, {}, "invalid_grant"),
    ],
    ids=str,
)
async def test_what_is_refused(
    service: Service, issuer: IssuerStandIn, changes: dict[str, str], claims: dict[str, Any], error: str
) -> None:
    """In the words of RFC 6749 and RFC 8693; of a token never which check failed."""
    response = await exchange(service.client(), issuer.token(**claims), **changes)
    assert (response.status_code, response.json()["error"]) == (400, error)
    if error == "invalid_grant":
        assert response.json() == NOT_ACCEPTED
    assert service.litellm.rows.keys == {}


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"grant_type=a&grant_type=b", "application/x-www-form-urlencoded", 400),
        (b"grant_type", "application/x-www-form-urlencoded", 400),
        (b"grant_type=%FF&client_id=a", "application/x-www-form-urlencoded", 400),
        (b"", "application/x-www-form-urlencoded", 400),
        (b"{}", "application/json", 415),
        (b"a=" + b"b" * 70_000, "application/x-www-form-urlencoded", 413),
    ],
    ids=["twice", "no value", "no UTF-8", "nothing", "JSON", "too large"],
)
async def test_what_is_no_form_is_refused_in_oauths_words(
    nobody: httpx.AsyncClient, content: bytes, media_type: str, status: int
) -> None:
    """The edge's own errors too, which are Backstage's everywhere else."""
    response = await nobody.post(f"{BASE}/oauth/token", content=content, headers={"Content-Type": media_type})
    assert (response.status_code, response.json()["error"]) == (status, "invalid_request")


async def test_an_unknown_parameter_is_ignored(nobody: httpx.AsyncClient, issuer: IssuerStandIn) -> None:
    """RFC 6749, section 3.2; and an empty one counts as absent."""
    response = await exchange(nobody, issuer.token(), scope="", hello="world")
    assert response.status_code == 200


async def test_the_same_token_gets_the_same_key_within_a_minute(
    nobody: httpx.AsyncClient, issuer: IssuerStandIn, clock: Clock, litellm: LiteLLMStandIn
) -> None:
    """Its life goes on meanwhile."""
    token = issuer.token(exp=int(clock()) + 3600)
    first = await given(nobody, token)
    clock.advance(59)
    again = await given(nobody, token)
    assert again == first | {"expires_in": first["expires_in"] - 59}
    assert len(litellm.rows.keys) == 1


async def test_later_it_gets_a_second_one_and_a_third_ends_the_first(
    nobody: httpx.AsyncClient, issuer: IssuerStandIn, clock: Clock, litellm: LiteLLMStandIn
) -> None:
    """A pod restarts with the token that it had."""
    token = issuer.token(exp=int(clock()) + 3600)
    secrets = []
    for _ in range(3):
        secrets.append((await given(nobody, token))["access_token"])
        clock.advance(60)
    assert len(set(secrets)) == 3
    assert [await chat(litellm, secret) for secret in secrets] == [401, 200, 200]


@pytest.mark.parametrize("answer", [respond(503), respond(400, json={"error": {"message": "policy", "code": "400"}})])
async def test_a_third_that_fails_ends_nothing(
    make_service: MakeService, issuer: IssuerStandIn, clock: Clock, litellm: LiteLLMStandIn, answer: Answer
) -> None:
    """The first key keeps working."""
    answers: dict[str, Answer] = {}
    service = make_service(ports={"litellm": Overriding(httpx.ASGITransport(litellm.app), answers)})
    token = issuer.token(exp=int(clock()) + 3600)
    secrets = await given_twice(service, token, clock)
    answers["/key/generate"] = answer
    assert (await exchange(service.client(), token)).status_code in (400, 503)
    assert [await chat(litellm, secret) for secret in secrets] == [200, 200]


async def test_without_the_end_of_the_first_there_is_no_third(
    make_service: MakeService, issuer: IssuerStandIn, clock: Clock, litellm: LiteLLMStandIn
) -> None:
    """Whatever LiteLLM fails at: no token has more than two keys, and once it works again the third is given."""
    answers: dict[str, Answer] = {}
    service = make_service(ports={"litellm": Overriding(httpx.ASGITransport(litellm.app), answers)})
    token = issuer.token(exp=int(clock()) + 3600)
    secrets = await given_twice(service, token, clock)
    answers["/key/delete"] = respond(503)
    assert (await exchange(service.client(), token)).status_code == 503
    assert [await chat(litellm, secret) for secret in secrets] == [200, 200]
    answers.clear()
    clock.advance(301)
    await service.run_background_jobs()
    assert len(litellm.rows.keys) == 2
    secrets.append((await given(service.client(), token))["access_token"])
    assert [await chat(litellm, secret) for secret in secrets] == [401, 200, 200]


async def test_the_third_needs_no_room_beside_the_first(
    make_service: MakeService, issuer: IssuerStandIn, clock: Clock
) -> None:
    """It ends, so there are no more than before."""
    service = ruled(make_service, max_living=2)
    token = issuer.token(exp=int(clock()) + 3600)
    for _ in range(4):
        await given(service.client(), token)
        clock.advance(60)
    assert (await exchange(service.client(), issuer.token(jti="another"))).status_code == 429


@pytest.mark.parametrize("how", ["reported", "blocked", "blocked, and the answer lost"])
async def test_a_key_that_was_blocked_is_not_given_again(
    make_service: MakeService, issuer: IssuerStandIn, litellm: LiteLLMStandIn, how: str
) -> None:
    """The pipeline whose key leaked gets one that works, in the same minute."""
    answers: dict[str, Answer] = {}
    service = make_service(ports={"litellm": Overriding(httpx.ASGITransport(litellm.app), answers)})
    token, bob = issuer.token(), service.signed_in(BOB)
    leaked = (await given(service.client(), token))["access_token"]
    (key_id,) = litellm.rows.keys
    if how == "reported":
        assert (await bob.post(f"{BASE}/keys/report", json={"key": leaked})).status_code == 202
    else:
        answers |= {"/key/update": move_and_lose(litellm)} if how != "blocked" else {}
        blocked = await bob.patch(keys_path(CHECKOUT, key_id), json={"blocked": True})
        assert blocked.status_code == (504 if answers else 200)
    again = (await given(service.client(), token))["access_token"]
    assert [await chat(litellm, secret) for secret in (leaked, again)] == [401, 200]


async def test_two_tokens_of_one_number(
    nobody: httpx.AsyncClient, issuer: IssuerStandIn, clock: Clock, litellm: LiteLLMStandIn
) -> None:
    """An issuer that uses a `jti` twice lends no token the later end of the other."""
    now = int(clock())
    long, short = [await given(nobody, issuer.token(jti="1", exp=now + left)) for left in (3600, 30)]
    assert (long["expires_in"], short["expires_in"]) == (900, 30)
    clock.advance(31)
    assert [await chat(litellm, one["access_token"]) for one in (long, short)] == [200, 401]


async def test_many_at_once_with_one_token_get_one_key(
    nobody: httpx.AsyncClient, issuer: IssuerStandIn, litellm: LiteLLMStandIn
) -> None:
    """A matrix build does that."""
    token = issuer.token()
    answers = await asyncio.gather(*(given(nobody, token) for _ in range(20)))
    assert len({answer["access_token"] for answer in answers}) == len(litellm.rows.keys) == 1


async def test_an_ended_key_is_not_given_again(
    nobody: httpx.AsyncClient, service: Service, issuer: IssuerStandIn, clock: Clock, litellm: LiteLLMStandIn
) -> None:
    """Neither while it is being cleared away, nor after that; also if an admin ended it."""
    token = issuer.token(exp=int(clock()) + 30)
    secret = (await given(nobody, token))["access_token"]
    (key_id,) = litellm.rows.keys
    assert (await service.signed_in(BOB).delete(keys_path(CHECKOUT, key_id))).status_code == 204
    again = await given(nobody, token)
    assert again["access_token"] != secret
    assert await chat(litellm, again["access_token"]) == 200


async def test_a_key_is_gone_after_its_end(
    nobody: httpx.AsyncClient, service: Service, issuer: IssuerStandIn, clock: Clock, litellm: LiteLLMStandIn
) -> None:
    """LiteLLM keeps expired rows; a hundred leave none, and no answer is kept either."""
    for number in range(50):
        await given(nobody, issuer.token(jti=f"run-{number}"))
    assert len(litellm.rows.keys) == 50
    clock.advance(303)
    await service.run_background_jobs()
    assert litellm.rows.keys == {}
    listed = (await service.signed_in(BOB).get(f"{BASE}/workloads")).json()
    assert (listed["rules"][0]["livingKeys"], listed["rules"][0]["lastUsedAt"]) == (0, "2027-01-15T08:00:00Z")


async def test_the_rate_of_a_rule(make_service: MakeService, issuer: IssuerStandIn, clock: Clock) -> None:
    """A pipeline that runs away fills nothing; what is repeated costs nothing."""
    service = ruled(make_service, per_minute=2)
    tokens = [issuer.token(jti=f"run-{number}") for number in range(3)]
    answers = [await exchange(service.client(), token) for token in [tokens[0], *tokens]]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert (answers[-1].json()["error"], answers[-1].headers["retry-after"]) == ("temporarily_unavailable", "30")
    clock.advance(30)
    assert (await exchange(service.client(), tokens[2])).status_code == 200


async def test_the_most_living_keys_of_a_rule(make_service: MakeService, issuer: IssuerStandIn, clock: Clock) -> None:
    """However many ask at once; the answer says when the first of them ends."""
    service = ruled(make_service, max_living=3)
    caller = service.client()
    answers = await asyncio.gather(*(exchange(caller, issuer.token(jti=f"run-{number}")) for number in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 5
    late = await exchange(caller, issuer.token(jti="late"))
    assert (late.status_code, late.headers["retry-after"]) == (429, "300")
    assert (late.headers["ratelimit"], late.headers["ratelimit-policy"]) == ('"living";r=0;t=300', '"living";q=3;w=900')
    assert late.json()["error_description"] == "At most 3 keys live at a time. Retry after 300 s."
    clock.advance(299.5)
    assert (await exchange(caller, issuer.token(jti="soon"))).headers["retry-after"] == "1"
    clock.advance(1.5)
    assert (await exchange(caller, issuer.token(jti="later"))).status_code == 200


async def test_an_owner_that_is_being_off_boarded_gets_none(
    nobody: httpx.AsyncClient,
    service: Service,
    issuer: IssuerStandIn,
    backstage: BackstageStandIn,
    litellm: LiteLLMStandIn,
) -> None:
    """Its living short keys are blocked with the rest, and a repetition gives none of them."""
    token, bob = issuer.token(), service.signed_in(BOB)
    secret = (await given(nobody, token))["access_token"]
    for name in "abc":
        backstage.org.components[f"component:default/{name}"] = backstage.org.components[CHECKOUT]
        assert (await bob.post(f"{BASE}/users", json={"userId": f"component:default/{name}"})).status_code == 201
    del backstage.org.components[CHECKOUT]
    await run_cleanup(bob)
    assert await chat(litellm, secret) == 401
    for again in (token, issuer.token(jti="another")):
        assert (await exchange(nobody, again)).json() == NOT_ACCEPTED


async def test_an_exchange_just_after_a_deletion_leaves_no_user(
    make_service: MakeService, service: Service, issuer: IssuerStandIn, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """At a replica that has not heard of the owner yet; the component is in the catalog, and has a user again later."""
    await given(service.client(), issuer.token())
    assert (await service.signed_in(BOB).delete(user_path(CHECKOUT))).status_code == 200
    other = make_service().client()
    assert (await exchange(other, issuer.token(jti="another"))).json() == NOT_ACCEPTED
    assert CHECKOUT not in litellm.rows.users
    clock.advance(11)
    await given(other, issuer.token(jti="a-third"))


async def test_an_owner_who_was_deleted_while_litellm_answered_is_looked_for_again(
    make_service: MakeService, service: Service, issuer: IssuerStandIn, litellm: LiteLLMStandIn, clock: Clock
) -> None:
    """What is remembered is as old as the question, not as its answer, which came eight seconds after the deletion."""
    await given(service.client(), issuer.token())
    clock.advance(20)

    class SecondAnswerIsLate(httpx.AsyncBaseTransport):
        looks = 0

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await httpx.ASGITransport(litellm.app).handle_async_request(request)
            self.looks += request.url.path == "/v2/user/info"
            if request.url.path == "/v2/user/info" and self.looks == 2:
                assert (await service.signed_in(BOB).delete(user_path(CHECKOUT))).status_code == 200
                clock.advance(8)
            return response

    other = make_service(ports={"litellm": SecondAnswerIsLate()}).client()
    assert (await exchange(other, issuer.token(jti="another"))).json() == NOT_ACCEPTED
    assert CHECKOUT not in litellm.rows.users
    clock.advance(3)
    await given(other, issuer.token(jti="a-third"))
    assert CHECKOUT in litellm.rows.users, "the replica remembered a user that was deleted"


async def test_a_name_that_was_taken_over_gives_none(
    nobody: httpx.AsyncClient, issuer: IssuerStandIn, backstage: BackstageStandIn, clock: Clock
) -> None:
    """Who registers a component again under the name of a rule's owner inherits nothing."""
    await given(nobody, issuer.token())
    backstage.org.uids[CHECKOUT] = "registered-again"
    clock.advance(61)
    assert (await exchange(nobody, issuer.token(jti="another"))).json() == NOT_ACCEPTED


async def test_a_name_that_was_taken_over_while_the_clock_was_set_back(
    make_service: MakeService, issuer: IssuerStandIn, backstage: BackstageStandIn, clock: Clock
) -> None:
    """That the owner was there is remembered for ten seconds, whatever the wall clock says of them."""
    wall = Clock()
    nobody = make_service(ports={"wall_clock": wall}).client()
    await given(nobody, issuer.token())
    backstage.org.uids[CHECKOUT] = "registered-again"
    clock.advance(61)
    wall.advance(61 - 3600)
    now = int(wall())
    assert (await exchange(nobody, issuer.token(jti="another", iat=now, exp=now + 300))).json() == NOT_ACCEPTED


async def test_a_short_key_can_be_blocked_and_deleted_only(
    nobody: httpx.AsyncClient, service: Service, issuer: IssuerStandIn, litellm: LiteLLMStandIn
) -> None:
    """It is marked, has an id, and does not count against `maxKeys`."""
    await given(nobody, issuer.token())
    (key_id,) = litellm.rows.keys
    bob, path = service.signed_in(BOB), keys_path(CHECKOUT, key_id)
    await service.signed_in(ALICE).get(user_path(ALICE))
    key = (await bob.get(path)).json()
    assert (key["source"], key["id"], key["key_alias"]) == (f"workload:{PIPELINE}", id_of(key_id), key["key_alias"])
    assert (await bob.patch(path, json={"alias": "mine"})).status_code == 409
    assert (await bob.patch(path, json={"maxBudget": 5})).status_code == 409
    assert (await bob.post(f"{path}/regenerate", json={})).status_code == 409
    assert (await bob.post(f"{path}/transfer", json={"owner": ALICE})).status_code == 409
    blocked = await bob.patch(path, json={"blocked": True})
    assert (blocked.status_code, blocked.json()["source"]) == (200, f"workload:{PIPELINE}")
    assert (await bob.patch(keys_path(CHECKOUT, id_of(key_id)), json={"blocked": False})).status_code == 200
    assert (await bob.delete(path)).status_code == 204


async def test_short_keys_leave_room_for_others(
    nobody: httpx.AsyncClient, service: Service, issuer: IssuerStandIn
) -> None:
    """The tier of components allows five."""
    for number in range(6):
        await given(nobody, issuer.token(jti=f"run-{number}"))
    made = [await service.signed_in(DAVE).post(keys_path(CHECKOUT), json={}) for _ in range(6)]
    assert [response.status_code for response in made] == [201] * 5 + [409]


async def test_each_key_is_in_the_audit_log(
    nobody: httpx.AsyncClient, service: Service, issuer: IssuerStandIn, litellm: LiteLLMStandIn
) -> None:
    """With the rule and the verified claims that were compared, and no other."""
    await given(nobody, issuer.token(secret_claim="canary"))
    (event,) = await events(service.signed_in(BOB), action="key.mint")
    assert (event["actor"], event["target"], event["outcome"]) == (f"workload:{PIPELINE}", CHECKOUT, "done")
    claims = {"sub": "repo:acme/checkout:ref:refs/heads/main"}
    assert event["requested"] == {"rule": PIPELINE, "issuer": "standalone", "claims": claims}
    assert [event["keyId"]] == list(litellm.rows.keys)


async def test_the_audit_log_says_which_key_ended_for_another(
    nobody: httpx.AsyncClient, service: Service, issuer: IssuerStandIn, clock: Clock
) -> None:
    """The third of one token names the first; the others name none."""
    token = issuer.token(exp=int(clock()) + 3600)
    for _ in range(3):
        await given(nobody, token)
        clock.advance(60)
    third, second, first = await events(service.signed_in(BOB), action="key.mint")
    assert (first["after"], second["after"], third["after"]) == (None, None, {"endedKeys": [first["keyId"]]})


async def test_what_a_rule_refused_is_one_event_a_minute(
    nobody: httpx.AsyncClient, service: Service, issuer: IssuerStandIn, clock: Clock
) -> None:
    """With the number and the reasons, and without what anybody on a public forge could write into the log."""
    for number in range(5):
        assert (await exchange(nobody, issuer.token(sub=f"repo:mallory/{number}:main"))).json() == NOT_ACCEPTED
    await exchange(nobody, "no-token")
    clock.advance(60)
    await service.run_background_jobs()
    await service.run_background_jobs()
    (event,) = await events(service.signed_in(BOB), action="key.mint")
    assert (event["actor"], event["outcome"], event["keyId"]) == (f"workload:{PIPELINE}", "denied", None)
    assert event["detail"] == "5 verified tokens were refused within a minute: sub does not match (5)"


@pytest.mark.parametrize(("setting", "name"), [("per_minute", "perMinute"), ("max_living", "maxLiving")])
async def test_what_a_limit_refused_is_in_that_event(
    make_service: MakeService, issuer: IssuerStandIn, clock: Clock, setting: str, name: str
) -> None:
    """The audit log shows a pipeline that sends too many requests."""
    service = ruled(make_service, **{setting: 1})
    answers = [await exchange(service.client(), issuer.token(jti=f"run-{number}")) for number in range(4)]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 429]
    clock.advance(60)
    await service.run_background_jobs()
    refused, given_one = await events(service.signed_in(BOB), action="key.mint")
    assert (given_one["outcome"], refused["outcome"]) == ("done", "denied")
    assert refused["detail"] == f"3 verified tokens were refused within a minute: above {name} (3)"


async def test_a_minute_that_is_in_the_log_already(
    nobody: httpx.AsyncClient, service: Service, issuer: IssuerStandIn, clock: Clock, tmp_path: Path
) -> None:
    """A replica that was slow does the task once more: there is no second event."""
    await exchange(nobody, issuer.token(sub="repo:mallory/checkout:main"))
    with closing(sqlite3.connect(tmp_path / "state.sqlite3")) as database:
        database.execute("CREATE TEMP TABLE again AS SELECT * FROM due WHERE kind = ?", [Kind.REFUSED_EXCHANGES])
        clock.advance(60)
        await service.run_background_jobs()
        assert database.execute("INSERT INTO due SELECT * FROM again").rowcount == 1
        database.commit()
    await service.run_background_jobs()
    (event,) = await events(service.signed_in(BOB), action="key.mint")
    assert event["detail"].startswith("1 verified tokens")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("The hook of carol@example.com forbids this", "LiteLLM's policy refuses the key"),
        ("max_budget is over max limit set in config - max_value=0.5", "LiteLLM allows at most 0.5 USD a key"),
    ],
    ids=["for a reason that is not known here", "for a known one"],
)
async def test_what_litellm_refuses_is_one_reason(
    make_service: MakeService, issuer: IssuerStandIn, litellm: LiteLLMStandIn, clock: Clock, *, said: str, reason: str
) -> None:
    """However often: the event of the minute has as many reasons as there are kinds."""
    refuses = httpx.Response(400, json={"error": {"message": said, "type": "bad_request_error", "code": "400"}})
    to_litellm = Overriding(httpx.ASGITransport(litellm.app), {"/key/generate": lambda _: refuses})
    service = make_service(ports={"litellm": to_litellm})
    for number in range(3):
        assert (await exchange(service.client(), issuer.token(jti=f"run-{number}"))).json() == NOT_ACCEPTED
    clock.advance(60)
    await service.run_background_jobs()
    (event,) = [row for row in await events(service.signed_in(BOB), action="key.mint") if row["outcome"] == "denied"]
    assert event["detail"] == f"3 verified tokens were refused within a minute: {reason} (3)"


async def test_a_public_issuer_cannot_fill_the_database(
    nobody: httpx.AsyncClient, service: Service, issuer: IssuerStandIn, clock: Clock
) -> None:
    """Above 600 a minute they are refused all the same, and counted by the metrics only."""
    for number in range(605):
        await exchange(nobody, issuer.token(sub=f"repo:mallory/{number}:main"))
    clock.advance(60)
    await service.run_background_jobs()
    (event,) = await events(service.signed_in(BOB), action="key.mint")
    assert event["detail"].startswith("600 verified tokens were refused")
    metrics = (await nobody.get("/metrics")).text
    assert f'token_exchanges_total{{result="refused",rule="{PIPELINE}"}} 605.0' in metrics


async def test_how_exchanges_end_is_counted(
    make_service: MakeService, issuer: IssuerStandIn, litellm: LiteLLMStandIn
) -> None:
    """Once each, by rule; the name of no rule is no label."""
    answers: dict[str, Answer] = {}
    workloads = ruled(make_service, per_minute=2).settings.workloads
    wire = Overriding(httpx.ASGITransport(litellm.app), answers)
    caller = make_service(workloads=workloads, ports={"litellm": wire}).client()
    token = issuer.token(jti="first")
    statuses = [(await exchange(caller, token)).status_code]
    answers["/key/generate"] = respond(503)
    others = [issuer.token(jti="away"), issuer.token(jti="late"), token[:-8], issuer.token(sub="repo:mallory")]
    statuses += [(await exchange(caller, other)).status_code for other in others]
    statuses += [(await exchange(caller, token, client_id="no-rule")).status_code]
    assert statuses == [200, 503, 429, 400, 400, 400]
    metrics = parsed((await caller.get("/metrics")).text)
    counted = {name: value for name, value in metrics.items() if name.startswith("token_exchanges_total")}
    results = ("issued", "unavailable", "limited", "unverified", "refused")
    assert counted == {f'token_exchanges_total{{result="{result}",rule="{PIPELINE}"}}': 1 for result in results}


async def test_the_rule_of_a_person_needs_their_user(
    make_service: MakeService, issuer: IssuerStandIn, litellm: LiteLLMStandIn
) -> None:
    """A person's LiteLLM user is created by themselves; a rule gives keys of one who is there."""
    service = ruled(make_service, owner=ALICE)
    assert (await exchange(service.client(), issuer.token())).json() == NOT_ACCEPTED
    await service.signed_in(ALICE).get(user_path(ALICE))
    await given(service.client(), issuer.token())
    assert [row["user_id"] for row in litellm.rows.keys.values()] == [ALICE]


async def test_what_no_rule_matches_and_who_may_ask(service: Service, issuer: IssuerStandIn) -> None:
    """An admin tries a token, or claims; nothing is changed, and nobody else learns anything."""
    bob, path = service.signed_in(BOB), f"{BASE}/workloads/test"
    tried = (await bob.post(path, json={"token": issuer.token()})).json()
    assert tried == {
        "verified": True,
        "issuer": "standalone",
        "problem": None,
        "rules": [{"name": PIPELINE, "matched": True, "problem": None}],
    }
    other = (await bob.post(path, json={"token": issuer.token(sub="repo:mallory/x:main")})).json()
    assert "repo:mallory/x:main" in other["rules"][0]["problem"]
    forged = (await bob.post(path, json={"token": issuer.token(aud="elsewhere")})).json()
    assert (forged["verified"], "aud" in forged["problem"], forged["rules"]) == (False, True, [])
    claims = (await bob.post(path, json={"claims": {"iss": "https://issuer.standalone", "sub": "x"}})).json()
    assert (claims["verified"], claims["rules"][0]["matched"]) == (None, False)
    assert (await bob.post(path, json={})).status_code == 400
    assert (await service.signed_in(ALICE).post(path, json={"claims": {"sub": "x"}})).status_code == 403


@pytest.mark.parametrize("is_signed", [True, False], ids=["token", "claims"])
async def test_issuers_that_share_a_url(make_service: MakeService, issuer: IssuerStandIn, *, is_signed: bool) -> None:
    """Each rule is tried against the issuer that it names, as in an exchange."""
    usual = make_service().settings.workloads
    (rule,), (one,) = usual.rules, usual.issuers
    issuers = (one, replace(one, name="same"), replace(one, name="other audience", audience="x"))
    rules = (rule, replace(rule, name="of-same", issuer="same"), replace(rule, name="of-other", issuer=issuers[2].name))
    service = make_service(workloads=replace(usual, issuers=issuers, rules=rules))
    token = issuer.token()
    claims = {"iss": one.url, "sub": "repo:acme/checkout:main", "aud": one.audience}
    body = {"token": token} if is_signed else {"claims": claims}
    told = (await service.signed_in(BOB).post(f"{BASE}/workloads/test", json=body)).json()
    assert (told["issuer"], told["problem"]) == ("standalone", None)
    given = [(await exchange(service.client(), token, client_id=each.name)).status_code == 200 for each in rules]
    assert given == [True, True, False]
    # Claims count as verified, by each issuer that they name.
    assert [row["matched"] for row in told["rules"]] == [True, True, not is_signed]
    assert told["rules"][2]["problem"] == ("its aud is not the audience of the issuer alone" if is_signed else None)


async def test_claims_of_no_issuer_match_nothing(service: Service) -> None:
    """The rules say what else is missing only once they have one."""
    claims = {"iss": "https://elsewhere.example.com", "sub": "repo:acme/checkout:main"}
    told = (await service.signed_in(BOB).post(f"{BASE}/workloads/test", json={"claims": claims})).json()
    assert (told["issuer"], told["problem"]) == (None, "iss is no issuer of the settings")
    assert told["rules"][0] == {
        "name": PIPELINE,
        "matched": False,
        "problem": 'the token is of "", the rule is for "standalone"',
    }


async def test_the_health_of_an_issuer(service: Service, issuer: IssuerStandIn, clock: Clock) -> None:
    """Its keys are read when an admin asks; a failure is shown until it is over."""
    bob = service.signed_in(BOB)
    (row,) = (await bob.get(f"{BASE}/workloads")).json()["issuers"]
    assert row == {
        "name": "standalone",
        "url": "https://issuer.standalone",
        "audience": "litellm-orchestrator",
        "keys": 1,
        "readAt": "2027-01-15T08:00:00Z",
        "problem": None,
    }
    issuer.is_away = True
    clock.advance(601)
    assert (await exchange(service.client(), issuer.token())).status_code == 200
    (row,) = (await bob.get(f"{BASE}/workloads")).json()["issuers"]
    assert (row["keys"], row["readAt"]) == (1, "2027-01-15T08:00:00Z")
    assert row["problem"] == "Issuer standalone cannot be reached"
    issuer.is_away = False
    clock.advance(60)
    assert (await exchange(service.client(), issuer.token(jti="later"))).status_code == 200
    (row,) = (await bob.get(f"{BASE}/workloads")).json()["issuers"]
    assert row["problem"] is None


@pytest.mark.parametrize("during", [False, True], ids=["before a request", "after LiteLLM did it"])
async def test_killed_at_every_step(
    make_service: MakeService, litellm: LiteLLMStandIn, issuer: IssuerStandIn, clock: Clock, *, during: bool
) -> None:
    """No key stays that nobody was given; the audit log is closed, and the same token gets a key from the next one."""
    plain = make_service()
    await exchange(plain.client(), issuer.token(jti="first use"))
    for step in range(_MOST_STEPS):
        clock.advance(1000)
        await plain.run_background_jobs()
        token = issuer.token(jti=f"step {step}", exp=int(clock()) + 3600)
        kill_switch = KillSwitch(litellm.app, step, during=during)
        killed = make_service(ports={"litellm": kill_switch})
        await killed.client().get(f"{BASE}/openapi.json")
        try:
            with kill_switch.watching():
                answer = await exchange(killed.client(), token)
        except Killed:
            clock.advance(301)
            await plain.run_background_jobs()
            await nothing_is_open(plain)
            # One that was recorded may have been given.
            (last,) = await events(plain.signed_in(BOB), action="key.mint", limit=1)
            is_given = last["outcome"] == "done" and last["at"] > "2027-01-15T08:01"
            assert len(litellm.rows.keys) <= int(is_given), f"after step {step}"
            assert (await exchange(plain.client(), token)).status_code == 200
        else:
            assert (answer.status_code, step) == (200, 1 if during else 3)
            return
    pytest.fail("an exchange never came to its end")


@pytest.mark.parametrize("during", [False, True], ids=["before a request", "after LiteLLM did it"])
async def test_killed_while_a_third_ends_the_first(
    make_service: MakeService, litellm: LiteLLMStandIn, issuer: IssuerStandIn, clock: Clock, *, during: bool
) -> None:
    """The second works at any rate, the first until it was deleted, and no key is there that nobody was given."""
    plain = make_service()
    for step in range(_MOST_STEPS):
        clock.advance(1000)
        await plain.run_background_jobs()
        token = issuer.token(jti=f"step {step}", exp=int(clock()) + 3600)
        secrets = await given_twice(plain, token, clock)
        kill_switch = KillSwitch(litellm.app, step, during=during)
        killed = make_service(ports={"litellm": kill_switch})
        await killed.client().get(f"{BASE}/openapi.json")
        try:
            with kill_switch.watching():
                await given(killed.client(), token)
        except Killed:
            clock.advance(301)
            await plain.run_background_jobs()
            await nothing_is_open(plain)
            (last,) = await events(plain.signed_in(BOB), action="key.mint", limit=1)
            is_recorded = (last["after"] or {}).get("endedKeys") is not None
            works = [await chat(litellm, secret) for secret in secrets]
            assert works in ([[401, 200]] if is_recorded else [[200, 200], [401, 200]]), f"after step {step}"
            assert len(litellm.rows.keys) == works.count(200) + is_recorded, f"after step {step}"
        else:
            assert step == (3 if during else 5)
            return
    pytest.fail("an exchange never came to its end")
