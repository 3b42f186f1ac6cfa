"""The versions of LiteLLM: within the tried range, silence; outside, a warning; never a decision."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from app import Foundation
from services.litellm_version import advice_about, log_version
from tests.conftest import MakeService, no_sleep
from tests.support.upstreams import answering, respond


@pytest.mark.parametrize("version", ["1.90.0", "1.90.0-stable", "1.104.5", "1.109.99"])
def test_tried_versions(version: str) -> None:
    """Both ends belong to the range, whatever the patch."""
    assert advice_about(version) is None


@pytest.mark.parametrize(
    "version", ["1.89.9", "1.110.0", "2.0.0", "0.100.0", "", "nightly", "1.x", f"1.{'9' * 5000}.0"]
)
def test_untried_versions(version: str) -> None:
    """And what cannot be read."""
    assert "tried with LiteLLM 1.90 to 1.109" in str(advice_about(version))


async def logged(make_service: MakeService, log: io.StringIO, *answers: tuple[int, Any]) -> dict[str, Any]:
    """What the start logs of a LiteLLM that gives these answers, one after the other."""
    following = iter(answers)

    def answer(_: Any) -> Any:
        status, body = next(following)
        return respond(status, json=body)(_)

    service = make_service(ports={"litellm": answering(answer)})
    foundation = Foundation(service.settings, service.ports)
    await log_version(foundation.litellm, no_sleep)
    await foundation.aclose()
    return json.loads(log.getvalue().splitlines()[-1])  # type: ignore[no-any-return]


async def test_the_start_logs_the_version(make_service: MakeService, log: io.StringIO) -> None:
    """As information, if it was tried."""
    line = await logged(make_service, log, (200, {"litellm_version": "1.104.5"}))
    assert (line["event"], line["level"], line["version"]) == ("LiteLLM", "info", "1.104.5")


async def test_the_start_warns_of_an_untried_version(make_service: MakeService, log: io.StringIO) -> None:
    """Once LiteLLM tells it, which may be later."""
    line = await logged(make_service, log, (401, {}), (200, {}), (200, {"litellm_version": "2.0.0"}))
    assert (line["level"], line["version"]) == ("warning", "2.0.0")
    assert "make live LITELLM_VERSION=" in line["advice"]
