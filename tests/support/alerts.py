"""The rules of the alerts, and what the dashboard asks Prometheus for."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.support.processes import ROOT

PROMETHEUS = ROOT / "deploy/prometheus"
DASHBOARD = ROOT / "deploy/grafana/dashboard.json"
ALERTS: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())["groups"][0]["rules"]


def dashboard_queries() -> list[str]:
    """Each expression of each panel."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]
