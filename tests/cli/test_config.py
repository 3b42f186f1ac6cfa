"""Printing the settings in effect."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cli.main import main
from settings.app_config import load
from settings.parse import from_app_config
from settings.written import masked, to_app_config

# Every key of the schema, each with a value that is not its default.
EVERYTHING = """
liteLLM:
  baseUrl: http://litellm:4000/
  publicUrl: https://llm.example.com
  masterKey: canary-master
  adminGroup: admins
  adminGroups: [group:default/more-admins]
  allowedGroup: users
  auditorGroups: [auditors]
  userDefaults: {maxBudget: 5.5, budgetDuration: 1y, models: [LLM Tier 1, 'gpt-*'], tpmLimit: 1, rpmLimit: 2,
                 maxKeys: 3, maxKeyDuration: 36h}
  groupDefaults:
    - {group: researchers, maxBudget: 0, models: [gpt-fake], maxKeyDuration: 3mo}
    - {group: group:other/all, budgetDuration: 30d, maxKeyDuration: 99999mo}
backend:
  baseUrl: http://portal:7007
  listen: {host: '::1', port: 7008}
  https: {certificate: {cert: "-----BEGIN\\nline 2\\n", key: canary-key}}
  cors: {origin: ['http://a', 'https://*.example.com'], methods: [GET], allowedHeaders: [X-A], exposedHeaders: [X-B],
         credentials: true, maxAge: 7}
litellmOrchestrator:
  database: {url: 'postgresql://user:canary-database@db/state?sslmode=require'}
  backstage: {issuer: 'https://portal/api/auth', catalogToken: canary-catalog, allowedPlugins: [scaffolder, catalog]}
  console: {refreshUrl: 'https://portal/refresh?optional', contact: "$${whoever} is 'ünused': #llm"}
  serviceTokens:
    - {token: canary-of-the-service-1, subject: 'service:ci', role: admin}
    - {token: canary-of-the-service-2, subject: 'service:ci', role: auditor}
  timeouts: {connect: 1.5, read: 2, pool: 3, deadline: 4}
  circuitBreaker: {failures: 0, seconds: 6}
  connections: {head: 7, body: 8, max: 9}
  membership: catalog
  membershipSeconds: 10
  includeNestedGroups: false
  cleanup: {enabled: false, interval: 11, gracePeriod: 12, maxRemovals: 13, maxDeletions: 19, deleteForeign: true,
            orphans: leave}
  directory: {fullSweepUsers: 14, maxAge: 61, maxPages: 15}
  rateLimit: {createsPerMinute: 16, changesPerMinute: 20, refusalsPerMinute: 21}
  secretKey: canary-secret-key-of-32-characters
  membershipStaleSeconds: 22
  audit: {retentionDays: 17}
  maintenanceInterval: 0
  knownUserSeconds: 18
  effectiveWithinSeconds: 23
"""
LITTLE = """
liteLLM: {baseUrl: 'http://litellm:4000', masterKey: canary-master, adminGroup: a, allowedGroup: b}
backend: {baseUrl: 'http://portal:7007'}
"""


def printed(folder: Path, text: str, *options: str) -> str:
    """What `config print` prints for a file with this text."""
    path = folder / "app-config.yaml"
    path.write_text(text)
    result = CliRunner().invoke(main, ["config", "print", "--config", str(path), *options])
    assert (result.exit_code, "canary" in result.output) == (0, False), result.output
    return result.output


def different(one: Any, other: Any, where: str = "") -> list[str]:
    """The fields that are not the same."""
    if is_dataclass(one) and type(one) is type(other):
        pairs = [(field.name, getattr(one, field.name), getattr(other, field.name)) for field in fields(one)]
        return [place for name, a, b in pairs for place in different(a, b, f"{where}.{name}")]
    return [] if one == other else [where]


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("text", [EVERYTHING, LITTLE])
def test_what_is_printed_is_accepted_again(tmp_path: Path, text: str, options: list[str]) -> None:
    """It is an app-config.yaml with the same settings, but for the secrets; printing that again changes nothing."""
    output = printed(tmp_path, text, *options)
    settings = from_app_config(load([tmp_path / "app-config.yaml"], {}))
    (tmp_path / "printed.yaml").write_text(output)
    again = from_app_config(load([tmp_path / "printed.yaml"], {}))
    assert different(again, masked(settings)) == []
    assert printed(tmp_path, output, *options) == output


def test_nothing_but_secrets_differs(tmp_path: Path) -> None:
    """The secrets are what settings leave out of their repr; without masking the tree gives the very same settings."""
    (tmp_path / "app-config.yaml").write_text(EVERYTHING)
    settings = from_app_config(load([tmp_path / "app-config.yaml"], {}))
    (tmp_path / "whole.yaml").write_text(yaml.safe_dump(to_app_config(settings)))
    assert different(from_app_config(load([tmp_path / "whole.yaml"], {})), settings) == []
    assert different(masked(settings), settings) == [
        ".litellm.master_key", ".backstage.catalog_token", ".certificate.key", ".service_tokens", ".secret_keys",
        ".database_url",
    ]  # fmt: skip


def test_an_operators_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file, from the environment and from the defaults; what is not set is left out."""
    monkeypatch.setenv("APP_CONFIG_liteLLM_userDefaults_maxBudget", "7")
    tree = yaml.safe_load(printed(tmp_path, LITTLE))
    assert tree["liteLLM"]["masterKey"] == "[redacted]"
    assert tree["liteLLM"]["userDefaults"] == {"maxBudget": 7, "models": []}
    assert tree["liteLLM"]["allowedGroups"] == ["group:default/b"]
    assert tree["backend"]["listen"] == "127.0.0.1:7007"
    assert tree["litellmOrchestrator"]["timeouts"] == {"connect": 2, "read": 8, "pool": 2, "deadline": 10}
    assert "issuer" not in tree["litellmOrchestrator"]["backstage"]
    assert json.loads(printed(tmp_path, LITTLE, "--json")) == tree


def test_a_password_in_an_address(tmp_path: Path) -> None:
    """Only it is masked."""
    tree = yaml.safe_load(printed(tmp_path, EVERYTHING))
    assert tree["litellmOrchestrator"]["database"]["url"] == "postgresql+psycopg://user:***@db/state?sslmode=require"


def test_invalid_settings(tmp_path: Path) -> None:
    """They are listed, with exit code 2, and nothing is printed."""
    path = tmp_path / "app-config.yaml"
    path.write_text("liteLLM: {}")
    result = CliRunner().invoke(main, ["config", "print", "--config", str(path)])
    assert (result.exit_code, "Invalid configuration:" in result.output) == (2, True)
