"""Creating a key: whatever is killed meanwhile, nobody is left with a key that its owner did not receive."""

from __future__ import annotations

import httpx
import pytest

from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, Clock, MakeService, Service, keys_path
from tests.services.keys.test_rotate import nothing_is_open
from tests.support.kill_points import Killed, KillSwitch

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
        headers = {"Idempotency-Key": f"create-{step}"}
        kill_switch = KillSwitch(litellm.app, step, during=during)
        answer = await killed_while_creating(make_service(ports={"litellm": kill_switch}), kill_switch, headers)
        if answer is not None:
            assert (answer.status_code, step > 5) == (201, True)
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
