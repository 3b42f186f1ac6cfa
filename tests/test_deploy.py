"""What operators deploy: the alerts, the dashboard and the runbook agree with the metrics that exist."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
import yaml
from prometheus_client.parser import text_string_to_metric_families

from standalone.backstage import BackstageStandIn
from standalone.litellm import LiteLLMStandIn
from tests.conftest import BOB, Clock, Service, keys_path, service_on
from tests.support.alerts import ALERTS, PROMETHEUS, dashboard_queries
from tests.support.processes import ROOT
from tests.support.requests import ended, send

NAMES = [alert["alert"] for alert in ALERTS]
RUNBOOK = (ROOT / "docs/runbook.md").read_text()


QUERIES = [*(alert["expr"] for alert in ALERTS), *dashboard_queries()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Each sample that exists once everything has happened, and the labels that it has. No test changes them."""
    clock, folder = Clock(), tmp_path_factory.mktemp("samples")
    service = service_on(folder, clock, LiteLLMStandIn(now=clock), BackstageStandIn(now=clock), numbers=count(1))
    try:
        return await _samples(service)
    finally:
        await service.aclose()


async def _samples(service: Service) -> dict[str, set[str]]:
    bob = service.signed_in(BOB)
    named = {"Idempotency-Key": "one"}
    for _ in range(2):
        await bob.post(keys_path(BOB), headers=named)
    while (await bob.post(keys_path(BOB))).status_code != 429:
        pass
    service.litellm.rows.add_user({"user_id": "user:default/somebody.who.left"})
    await send(bob, "runCleanup", json={"dryRun": False})
    await ended(bob)
    found: dict[str, set[str]] = {"up": {"job", "namespace", "instance"}}
    for family in text_string_to_metric_families((await service.client().get("/metrics")).text):
        for sample in family.samples:
            found.setdefault(sample.name, {"job", "namespace", "instance"}).update(sample.labels)
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_and_labels_that_exist(query: str, samples: dict[str, set[str]]) -> None:
    """A query over a metric that does not exist is valid, and silent for ever."""
    selectors = re.findall(r"(litellm_orchestrator_\w+|\bup)\b(?:\{([^}]*)\})?", query)
    assert selectors
    for name, matchers in selectors:
        assert name in samples
        assert set(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers)) <= samples[name]
    grouped = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", query) for label in labels.split(",")}
    assert grouped <= set().union(*(samples[name] for name, _ in selectors))


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_an_alert_tells_its_reader_what_to_do(alert: dict[str, Any]) -> None:
    """A section of the runbook: what it means, what to look at, what to do."""
    assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"
    section = RUNBOOK.partition(f"\n## {alert['alert']}\n")[2].partition("\n## ")[0]
    for part in ("**Meaning.**", "**Look at**", "**Do.**"):
        assert part in section


def test_the_runbook_has_no_other_alerts() -> None:
    """In the order of the rules."""
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == NAMES


def test_each_alert_is_tested_both_ways() -> None:
    """It fires in some test, and stays silent in another."""
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yaml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == set(NAMES)
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == set(NAMES)


def test_the_workflows_pin_their_actions_and_call_targets_that_exist() -> None:
    """A tag of an action can be moved, a commit cannot."""
    workflows = [yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")]
    steps = [step for workflow in workflows for job in workflow["jobs"].values() for step in job["steps"]]
    assert [step["uses"] for step in steps if not re.search(r"@[0-9a-f]{40}$", step.get("uses", f"@{'0' * 40}"))] == []
    called = {step["run"].split()[1] for step in steps if step.get("run", "").startswith("make ")}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"lint", "test", "postgresql-test", "audit", "secrets-scan"} <= called <= targets
