"""What LiteLLM has counted for alice, and what it says of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BOB, MakeService, user_path
from tests.support.upstreams import Answer, Overriding

USAGE = f"{user_path(ALICE)}/usage"


def one_day(litellm: LiteLLMStandIn) -> Any:
    """A day of alice's with one call, as LiteLLM returns it."""
    litellm.rows.users.pop(ALICE, None)
    litellm.rows.add_user({"user_id": ALICE})
    litellm.rows.usage.calls.clear()
    litellm.rows.usage.add(ALICE, "2027-01-14", "gpt-fake", "ab" * 32)
    [day] = litellm.rows.usage.days(ALICE, "2027-01-01", "2027-01-31")
    return day


def reading(make_service: MakeService, litellm: LiteLLMStandIn, body: Callable[[], str]) -> httpx.AsyncClient:
    """Bob, while LiteLLM returns `body` as the usage."""
    answers: dict[str, Answer] = {"/user/daily/activity": lambda _: httpx.Response(200, text=body())}
    odd = Overriding(httpx.ASGITransport(litellm.app), answers)
    return make_service(ports={"litellm": odd}).signed_in(BOB)
