"""Jobs run again and again, whatever one run ends in, and ports of time get values that fit each other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
import yaml

from app import Foundation, Ports
from domain.errors import UpstreamUnavailableError
from services.litellm_version import log_version
from services.repetition import Job, repeat
from tests.conftest import MakeService
from tests.support.processes import ROOT
from tests.support.upstreams import answering, refuse


class Waits:
    """A port of time that ends what waits after so many waits. `asked` are the seconds."""

    def __init__(self, most: int) -> None:
        self.asked: list[float] = []
        self._most = most

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        if len(self.asked) == self._most:
            raise asyncio.CancelledError


@pytest.mark.parametrize("ends", [(), (UpstreamUnavailableError("x"), ZeroDivisionError(), OSError())])
async def test_a_job_runs_after_each_interval(ends: Sequence[Exception]) -> None:
    """The first time after its own wait; give or take a tenth; also after runs that failed."""
    runs = iter(ends)

    async def run() -> None:
        if (error := next(runs, None)) is not None:
            raise error

    waits = Waits(5)
    with pytest.raises(asyncio.CancelledError):
        await repeat(Job("a job", run, interval=100, first=10), waits)
    assert 9 <= waits.asked[0] <= 11
    assert all(90 <= seconds <= 110 for seconds in waits.asked[1:])
    assert len(waits.asked) == 5


async def test_litellms_version_is_asked_for_once_a_minute(make_service: MakeService) -> None:
    """As long as LiteLLM does not tell it."""
    service, waits = make_service(ports={"litellm": answering(refuse)}), Waits(3)
    foundation = Foundation(service.settings, service.ports)
    with pytest.raises(asyncio.CancelledError):
        await log_version(foundation.litellm, waits)
    await foundation.aclose()
    assert waits.asked == [60, 60, 60]


def test_a_dependency_is_given_up_before_a_probe_is() -> None:
    """The health view is not silent because a dependency is."""
    deployment = yaml.safe_load((ROOT / "deploy/kubernetes/base/deployment.yaml").read_text("utf-8"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    probes = [probe for name, probe in container.items() if name.endswith("Probe") and "timeoutSeconds" in probe]
    assert probes
    assert all(Ports().dependency_patience * 2 < probe["timeoutSeconds"] for probe in probes)
