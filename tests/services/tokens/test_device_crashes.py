"""A process that dies between any two steps of an approval, a sign-in, or the end of a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path
from tests.services.tokens.test_devices import error_of
from tests.support.audit import events, nothing_is_open
from tests.support.devices import approve, ask, code_path, poll, refresh, renewed, revoke, sessions, sign_in
from tests.support.keys import chat
from tests.support.kill_points import Killed, KillSwitch

_MOST_STEPS = 60
_LEASE = 31
_AFTER_ALL = 400

pytestmark = pytest.mark.parametrize("during", [False, True], ids=["before a request", "after LiteLLM did it"])


@dataclass(frozen=True)
class Stage:
    """A service that is well, and one that dies at each step in turn."""

    make_service: MakeService
    litellm: LiteLLMStandIn
    clock: Clock
    during: bool

    async def each_step(
        self,
        prepare: Callable[[Service], Awaitable[Any]],
        act: Callable[[Service, Any], Awaitable[httpx.Response]],
        check: Callable[[Service, Any], Awaitable[None]],
        *,
        steps: tuple[int, int],
    ) -> None:
        """Prepares, dies in the act at step 0, 1, 2 and so on, and checks each time, until the act comes to its end.

        It has so many `steps`, and so many changes of LiteLLM among them.
        """
        plain = self.make_service()
        await plain.signed_in(ALICE).get(keys_path(ALICE))  # the user: each attempt begins alike
        for step in range(_MOST_STEPS):
            prepared = await prepare(plain)
            switch = KillSwitch(self.litellm.app, step, during=self.during)
            killed = self.make_service(ports={"litellm": switch})
            await killed.client().get(f"{BASE}/openapi.json")
            try:
                with switch.watching():
                    answer = await act(killed, prepared)
            except Killed:
                self.clock.advance(_LEASE)
                await check(plain, prepared)
                await self.cleaned(plain)
                await nothing_is_open(plain)
            else:
                assert (step, answer.status_code < 500) == (steps[self.during], True), answer.text
                return
        pytest.fail("it never came to its end")

    async def cleaned(self, plain: Service) -> None:
        """Everything that the background jobs do about it is done."""
        for _ in range(2):
            self.clock.advance(_AFTER_ALL)
            await plain.run_background_jobs()


@pytest.fixture
def stage(make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock, *, during: bool) -> Stage:
    """For the sign-ins of alice."""
    return Stage(make_service, litellm, clock, during)


async def asked(plain: Service) -> dict[str, Any]:
    return await ask(plain.client())


async def approved(plain: Service) -> dict[str, Any]:
    codes = await ask(plain.client())
    assert (await approve(plain.signed_in(ALICE), codes, ALICE)).status_code == 200
    return codes


async def used(plain: Service) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a device got first, and what it has now; what it got first is theft now."""
    first = await sign_in(plain, ALICE)
    return first, await renewed(plain.client(), first["refresh_token"])


async def ended_if_it_is_recorded(plain: Service, given: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """The session has ended once the audit log says that somebody ends it, also if nobody comes again."""
    recorded = await events(plain.signed_in(BOB), action="session.end")
    is_recorded = any(row["requested"]["session"] == given[0]["session_id"] for row in recorded)
    assert (await sessions(plain.signed_in(ALICE)) == []) is is_recorded


async def test_an_approval(stage: Stage) -> None:
    """It is not made before its outcome is recorded: the person does it again, and the device is signed in."""

    async def check(plain: Service, codes: dict[str, Any]) -> None:
        state = (await plain.signed_in(ALICE).get(code_path(codes))).json()["state"]
        again = await approve(plain.signed_in(ALICE), codes, ALICE)
        assert (state, again.status_code) == ("pending", 200)
        assert (await poll(plain.client(), codes)).status_code == 200

    await stage.each_step(
        asked, lambda killed, codes: approve(killed.signed_in(ALICE), codes, ALICE), check, steps=(3, 0)
    )


async def test_a_refusal(stage: Stage) -> None:
    """As an approval."""

    async def check(plain: Service, codes: dict[str, Any]) -> None:
        state = (await plain.signed_in(ALICE).get(code_path(codes))).json()["state"]
        again = await plain.signed_in(ALICE).post(code_path(codes, "refusal"))
        assert (state, again.status_code) == ("pending", 200)
        assert await error_of(await poll(plain.client(), codes)) == "access_denied"

    await stage.each_step(
        asked, lambda killed, codes: killed.signed_in(ALICE).post(code_path(codes, "refusal")), check, steps=(3, 0)
    )


async def test_a_sign_in(stage: Stage) -> None:
    """The code is used up together with the outcome: the device asks again, and its session has one key."""

    async def check(plain: Service, codes: dict[str, Any]) -> None:
        alice = plain.signed_in(ALICE)
        assert (await poll(plain.client(), codes)).status_code == 200
        (session,) = await sessions(alice)
        assert len(stage.litellm.rows.keys) == session["livingKeys"] == 1
        assert (await plain.signed_in(ALICE).delete(f"{BASE}/sessions/{session['id']}")).status_code == 204
        assert stage.litellm.rows.keys == {}

    await stage.each_step(approved, lambda killed, codes: poll(killed.client(), codes), check, steps=(4, 1))


async def test_a_sign_in_that_nobody_repeats(stage: Stage) -> None:
    """There is no session, and no key."""

    async def check(plain: Service, _codes: dict[str, Any]) -> None:
        await stage.cleaned(plain)
        assert await sessions(plain.signed_in(ALICE)) == []
        assert stage.litellm.rows.keys == {}

    await stage.each_step(approved, lambda killed, codes: poll(killed.client(), codes), check, steps=(4, 1))


async def test_a_sign_out(stage: Stage) -> None:
    """The person repeats it, or the session has ended; then its keys are deleted, whichever process stops."""

    async def check(plain: Service, given: tuple[dict[str, Any], dict[str, Any]]) -> None:
        await ended_if_it_is_recorded(plain, given)
        alice = plain.signed_in(ALICE)
        for session in await sessions(alice):
            assert (await alice.delete(f"{BASE}/sessions/{session['id']}")).status_code == 204
        await gone(plain, given)

    async def gone(plain: Service, given: tuple[dict[str, Any], dict[str, Any]]) -> None:
        assert await error_of(await refresh(plain.client(), given[1]["refresh_token"])) == "invalid_grant"
        await stage.cleaned(plain)
        assert stage.litellm.rows.keys == {}

    await stage.each_step(
        used,
        lambda killed, given: killed.signed_in(ALICE).delete(f"{BASE}/sessions/{given[0]['session_id']}"),
        check,
        steps=(4, 2),
    )


async def test_a_revocation(stage: Stage) -> None:
    """Who revokes again gets a 200, and no key is left then."""

    async def check(plain: Service, given: tuple[dict[str, Any], dict[str, Any]]) -> None:
        await ended_if_it_is_recorded(plain, given)
        assert (await revoke(plain.client(), given[1]["refresh_token"])).status_code == 200
        assert stage.litellm.rows.keys == {}
        assert await sessions(plain.signed_in(ALICE)) == []

    await stage.each_step(
        used, lambda killed, given: revoke(killed.client(), given[1]["refresh_token"]), check, steps=(4, 2)
    )


async def test_a_revocation_of_a_key(stage: Stage) -> None:
    """Who revokes again gets a 200; the device has its other key."""

    async def check(plain: Service, given: tuple[dict[str, Any], dict[str, Any]]) -> None:
        first, second = given
        assert (await revoke(plain.client(), first["access_token"])).status_code == 200
        assert [await chat(stage.litellm, row["access_token"]) for row in given] == [401, 200]
        assert (await revoke(plain.client(), second["refresh_token"])).status_code == 200

    await stage.each_step(
        used, lambda killed, given: revoke(killed.client(), given[0]["access_token"]), check, steps=(3, 1)
    )


async def test_theft(stage: Stage) -> None:
    """The session has ended or the thief's next try ends it, and its keys are blocked for good."""

    async def prepare(plain: Service) -> tuple[dict[str, Any], dict[str, Any]]:
        given = await used(plain)
        stage.clock.advance(_LEASE)
        return given

    async def check(plain: Service, given: tuple[dict[str, Any], dict[str, Any]]) -> None:
        await ended_if_it_is_recorded(plain, given)
        assert await error_of(await refresh(plain.client(), given[0]["refresh_token"])) == "invalid_grant"
        assert await error_of(await refresh(plain.client(), given[1]["refresh_token"])) == "invalid_grant"
        await stage.cleaned(plain)
        assert [await chat(stage.litellm, row["access_token"]) for row in given] == [401, 401]
        assert [row["blocked"] for row in stage.litellm.rows.keys.values()][-2:] == [True, True]

    await stage.each_step(
        prepare, lambda killed, given: refresh(killed.client(), given[0]["refresh_token"]), check, steps=(6, 2)
    )
