"""Printing the settings in effect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.configuration import settings_or_exit
from cli.main import main
from settings.secrets import secrets_in


def config_file(folder: Path, database: str) -> Path:
    path = folder / "app-config.yaml"
    path.write_text(
        f"""
        liteLLM:
          baseUrl: http://proxy:canary-proxy@litellm:4000
          masterKey: canary-master
          adminGroup: admins
          allowedGroup: users
          groupDefaults: [{{group: researchers, maxBudget: 0, models: [gpt-fake]}}]
        backend: {{baseUrl: 'http://portal:7007', cors: {{origin: ['http://a', 'http://b']}}}}
        litellmOrchestrator:
          database: {{url: '{database}'}}
          backstage: {{catalogToken: canary-catalog, allowedPlugins: [scaffolder, catalog]}}
          serviceTokens: [{{token: canary-of-the-service, subject: 'service:ci', role: admin}}]
          secretKey: [canary-of-thirty-two-characters-1, canary-of-thirty-two-characters-2]
        """
    )
    return path


def test_the_settings_in_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file, from the environment and from the defaults; secrets are masked, and what is not set is null."""
    monkeypatch.setenv("APP_CONFIG_liteLLM_userDefaults_maxBudget", "7")
    path = config_file(tmp_path, "postgresql://user:canary-database@db/state?sslpassword=canary-ssl")
    result = CliRunner().invoke(main, ["config", "print", "--config", str(path)])
    assert (result.exit_code, "canary" in result.output) == (0, False), result.output
    settings = json.loads(result.output)
    assert settings["litellm"]["master_key"] == "[redacted]"
    assert settings["litellm"]["base_url"] == "http://proxy:***@litellm:4000"
    assert settings["litellm"]["user_defaults"]["max_budget"] == 7
    assert settings["litellm"]["group_defaults"][0]["max_budget"] == 0
    assert settings["database_url"] == "postgresql+psycopg://user:***@db/state"
    assert settings["service_tokens"] == [{"token": "[redacted]", "subject": "service:ci", "role": "admin"}]
    assert settings["secret_keys"] == "[redacted]"
    assert settings["backstage"]["allowed_plugins"] == ["catalog", "scaffolder"]
    assert settings["backstage"]["issuer"] is None
    assert settings["cors"]["origins"] == ["http://a", "http://b"]
    assert settings["timeouts"] == {"connect": 2.0, "read": 8.0, "pool": 2.0, "deadline": 10.0}


def test_the_log_masks_each_secret_key(tmp_path: Path) -> None:
    """Both of those that are in use while it is replaced."""
    secrets = secrets_in(settings_or_exit([config_file(tmp_path, "sqlite:///state.sqlite3")]))
    assert {f"canary-of-thirty-two-characters-{number}" for number in (1, 2)} <= set(secrets)


def test_invalid_settings(tmp_path: Path) -> None:
    """They are listed, with exit code 2, and nothing is printed."""
    path = tmp_path / "app-config.yaml"
    path.write_text("liteLLM: {}")
    result = CliRunner().invoke(main, ["config", "print", "--config", str(path)])
    assert (result.exit_code, "Invalid configuration:" in result.output) == (2, True)
