"""Builds settings from an `app-config.yaml` tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from settings.model import DEFAULT_PORT, Connection, Settings
from settings.problems import port_of, problems_of
from settings.tree import read


class SettingsError(Exception):
    """The service cannot run with these settings. `problems` has one sentence for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def from_app_config(tree: Mapping[str, Any]) -> Settings:
    """Checks `tree` and builds settings from it. Raises SettingsError with all problems at once."""
    problems = sorted(set(problems_of(tree)))
    if problems:
        raise SettingsError(problems)
    settings: Settings = read(Settings, Settings, _in_one_form(tree))
    return settings


def _in_one_form(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree in which whatever has several forms or places (`OtherForms`) has the ones of `Settings`."""
    litellm, backend, ours = (dict(tree.get(name, {})) for name in ("liteLLM", "backend", "litellmOrchestrator"))
    for one, several in (("adminGroup", "adminGroups"), ("allowedGroup", "allowedGroups")):
        litellm[several] = [*([litellm[one]] if one in litellm else []), *litellm.get(several, [])]
    litellm["groupDefaults"] = [litellm.get("userDefaults", {}) | row for row in litellm.get("groupDefaults", [])]
    ours["owners"] = [litellm.get("userDefaults", {}) | row for row in ours.get("owners", [])]
    if "listen" in backend:
        backend["listen"] = _listen(backend["listen"])
    if not backend.get("https"):
        backend.pop("https", None)
    ours["backstage"] = {"baseUrl": backend.get("baseUrl")} | ours.get("backstage", {})
    ours["database"] = _database(backend.get("database", {})) | ours.get("database", {})
    return {"liteLLM": litellm, "backend": backend, "litellmOrchestrator": ours}


def _listen(listen: Any) -> dict[str, Any]:
    """Host and port. Backstage's `:7007` means every address (https://backstage.io/docs/conf/writing/)."""
    port = port_of(listen)
    host = listen.get("host", "") if isinstance(listen, dict) else listen.rpartition(":")[0]
    return {"host": host.strip("[]") or "0.0.0.0", "port": DEFAULT_PORT if port is None else port}  # noqa: S104  # as Backstage does


def _database(backstages: Mapping[str, Any]) -> dict[str, str]:
    """Backstage's `backend.database` as ours, if it is PostgreSQL."""
    if backstages.get("client") != "pg":
        return {}
    connection = backstages.get("connection", {})
    return {"url": connection if isinstance(connection, str) else read(Connection, Connection, connection).url}
