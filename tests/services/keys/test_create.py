"""Creating a key: whatever is killed meanwhile, nobody is left with a key that its owner did not receive."""

from __future__ import annotations

import httpx
import pytest

from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, Clock, MakeService, Service, keys_path
from tests.support.audit import events, nothing_is_open
from tests.support.keys import made
from tests.support.kill_points import Killed, KillSwitch
from tests.support.upstreams import Overriding, mint_and_lose

_MOST_STEPS = 40


async def killed_while_creating(
    service: Service, kill_switch: KillSwitch, headers: dict[str, str]
) -> httpx.Response | None:
    """Creates a key with a service that is killed. Returns None if it was killed."""
    with kill_switch.watching():
        try:
            return await service.signed_in(ALICE).post(keys_path(ALICE), json={"alias": "laptop"}, headers=headers)
        except Killed:
            return None


@pytest.mark.parametrize("during", [False, True], ids=["before a request", "after LiteLLM did it"])
@pytest.mark.parametrize("ending", ["it is sent again", "another request follows", "nobody sends it again"])
async def test_killed_at_every_step(
    make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, *, during: bool, ending: str
) -> None:
    """The caller who repeats the request, or sends another for the same alias, gets the only key."""
    plain = make_service(creates_per_minute=100_000)
    for step in range(_MOST_STEPS):
        litellm.rows.users.clear()  # the first request creates the user
        headers = {"Idempotency-Key": f"create-{step}"}
        kill_switch = KillSwitch(litellm.app, step, during=during)
        answer = await killed_while_creating(make_service(ports={"litellm": kill_switch}), kill_switch, headers)
        if answer is not None:
            assert (answer.status_code, step) == (201, 2 if during else 6)
            return
        clock.advance(31)
        expected: list[str] = []
        if ending != "nobody sends it again":
            again = headers if ending == "it is sent again" else {}
            answer = await plain.signed_in(ALICE).post(keys_path(ALICE), json={"alias": "laptop"}, headers=again)
            assert answer.status_code == 201, (step, answer.text)
            expected = [answer.json()["keyId"]]
            assert list(litellm.rows.keys) == expected, f"a key was left behind at step {step}"
        clock.advance(301)
        await plain.run_background_jobs()
        assert list(litellm.rows.keys) == expected, f"after step {step}"
        await nothing_is_open(plain)
        for key_id in expected:
            await plain.signed_in(ALICE).delete(keys_path(ALICE, key_id))
        clock.advance(86_400)
    pytest.fail("a creation never came to its end")


async def test_another_request_is_no_repetition(service: Service) -> None:
    """The same Idempotency-Key with other properties is a 422; the audit log has those that were requested."""
    alice, named = service.signed_in(ALICE), {"Idempotency-Key": "create-once"}
    answers = [await alice.post(keys_path(ALICE), json={"alias": alias}, headers=named) for alias in ("a", "a", "b")]
    assert [answer.status_code for answer in answers] == [201, 201, 422]
    assert answers[0].json() == answers[1].json()
    (event,) = await events(alice, action="key.create")
    assert (event["keyId"], event["requested"]) == (answers[0].json()["keyId"], {"alias": "a"})


@pytest.mark.parametrize("is_rotation", [False, True])
async def test_the_next_key_does_not_wait_for_reconciliation(
    make_service: MakeService, litellm: LiteLLMStandIn, *, is_rotation: bool
) -> None:
    """LiteLLM's answer was lost: the key that nobody received is deleted first, so its alias is free at once."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {})
    alice = make_service(ports={"litellm": wire}).signed_in(ALICE)
    kept = await made(alice)
    wire.answers["/key/generate"] = mint_and_lose(litellm)
    assert (await alice.post(keys_path(ALICE), json={"alias": "laptop"})).status_code == 504
    wire.answers.clear()
    assert len(litellm.rows.keys) == 2
    path = f"{keys_path(ALICE, kept)}/regenerate" if is_rotation else keys_path(ALICE)
    created = await alice.post(path, json={"alias": "laptop"})
    others = [] if is_rotation else [kept]
    assert (created.status_code, list(litellm.rows.keys)) == (201, [*others, created.json()["keyId"]])
