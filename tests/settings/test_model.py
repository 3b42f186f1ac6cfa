"""Settings are checked all at once, and every one of them is documented."""

from __future__ import annotations

import json
from typing import Any

import pytest

from domain.identity import GroupRefs
from settings.forms import DURATION, full_group_ref, litellm_duration
from settings.model import CleanupSettings
from settings.page import PAGE, page
from settings.parse import SettingsError, from_app_config

PLUGIN_CONFIG: dict[str, Any] = {
    "liteLLM": {
        "baseUrl": "http://localhost:4000/",
        "masterKey": "sk-canary-master",
        "adminGroup": "group:default/Admins",
        "allowedGroup": "group:default/litellm-users",
        "userDefaults": {"maxBudget": 0, "budgetDuration": "1y"},
    },
    "backend": {"baseUrl": "http://localhost:7007", "listen": ":7007", "database": {"client": "pg"}},
    "app": {"title": "somebody else's"},
}


def config(**changes: Any) -> Any:
    return json.loads(json.dumps(PLUGIN_CONFIG)) | changes


def problems(tree: dict[str, Any]) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        from_app_config(tree)
    return raised.value.problems


def test_the_plugins_own_configuration_is_enough() -> None:
    """What the plugin reads is read the same; the rest has defaults."""
    read = from_app_config(PLUGIN_CONFIG)
    assert (read.litellm.base_url, read.litellm.master_key) == ("http://localhost:4000", "sk-canary-master")
    assert read.groups == GroupRefs(allowed=("group:default/litellm-users",), admin=("group:default/admins",))
    assert (read.litellm.user_defaults.max_budget, read.litellm.user_defaults.budget_duration) == (0, "365d")
    assert read.backstage.base_url == "http://localhost:7007"
    assert (read.host, read.port) == ("0.0.0.0", 7007)
    assert (read.timeouts.connect, read.timeouts.deadline, read.known_user_seconds) == (2.0, 10.0, 300.0)
    assert read.cors.origins == ()


def test_a_whole_number_may_have_an_exponent() -> None:
    """JSON and YAML have one kind of numbers, and LiteLLM gets the whole number."""
    read = from_app_config(config(liteLLM=PLUGIN_CONFIG["liteLLM"] | {"userDefaults": {"tpmLimit": 1e6}}))
    assert repr(read.litellm.user_defaults.tpm_limit) == "1000000"


def test_our_own_block_is_read() -> None:
    """The settings that the plugin does not have."""
    ours = {
        "backstage": {
            "baseUrl": "http://backstage:7007/",
            "issuer": "https://portal/api/auth",
            "catalogToken": "catalog-token",
        },
        "serviceTokens": [{"token": "0123456789abcdef", "subject": "service:ci", "role": "admin"}],
        "secretKey": "s" * 32,
        "timeouts": {"read": 3, "deadline": 5},
        "knownUserSeconds": 0,
    }
    cors = {
        "origin": "http://localhost:3000",
        "methods": ["GET"],
        "credentials": True,
        "maxAge": 5,
        "exposedHeaders": "X-A",
    }
    read = from_app_config(
        config(litellmOrchestrator=ours, backend={"cors": cors, "listen": {"host": "::1", "port": "81"}})
    )
    assert read.backstage.base_url == "http://backstage:7007"
    assert (read.backstage.issuer, read.backstage.catalog_token) == ("https://portal/api/auth", "catalog-token")
    assert read.secret_keys == ("s" * 32,)
    assert (read.service_tokens[0].subject, read.service_tokens[0].role) == ("service:ci", "admin")
    assert (read.timeouts.read, read.timeouts.deadline, read.known_user_seconds) == (3, 5, 0)
    assert (read.cors.origins, read.cors.methods) == (("http://localhost:3000",), ("GET",))
    assert (read.cors.credentials, read.cors.max_age, read.cors.exposed_headers) == (True, 5, ("X-A",))
    assert (read.host, read.port) == ("::1", 81)


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [
        (None, "127.0.0.1", 7007),
        (":8080", "0.0.0.0", 8080),
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("[::1]:8080", "::1", 8080),
        ({"port": 8080}, "0.0.0.0", 8080),
        ({"host": "10.0.0.1"}, "10.0.0.1", 7007),
    ],
)
def test_listen(listen: Any, host: str, port: int) -> None:
    """Backstage's forms of `backend.listen`."""
    backend = {"baseUrl": "http://localhost"} | ({} if listen is None else {"listen": listen})
    read = from_app_config(config(backend=backend))
    assert (read.host, read.port) == (host, port)


def test_all_problems_are_reported_at_once_without_values() -> None:
    """Each with its path and what was expected; a secret is never repeated."""
    tree = {
        "liteLLM": {
            "baseUrl": "ftp://canary",
            "masterKey": "sk-canary with a space",
            "adminGroup": 5,
            "userDefaults": {"maxBudget": -1, "budgetDuration": "canary", "maxbudget": 1},
            "extra": "canary",
        },
        "litellmOrchestrator": {
            "serviceTokens": [
                {"token": "canary", "subject": "x", "role": "root"},
                {"token": "canary", "subject": "y", "role": "admin"},
            ],
            "secretKey": ["canary", "s" * 32, "t" * 32],
            "timeouts": {"read": 0},
        },
        "backend": {"listen": "canary", "cors": {"origin": 5}},
    }
    told = problems(tree)
    assert {line.partition(":")[0] for line in told} == {
        "backend.cors.origin",
        "backend.listen",
        "liteLLM",
        "liteLLM.adminGroup",
        "liteLLM.allowedGroup",
        "liteLLM.baseUrl",
        "liteLLM.masterKey",
        "liteLLM.userDefaults",
        "liteLLM.userDefaults.budgetDuration",
        "liteLLM.userDefaults.maxBudget",
        "litellmOrchestrator.backstage.baseUrl",
        "litellmOrchestrator.secretKey",
        "litellmOrchestrator.secretKey[0]",
        "litellmOrchestrator.serviceTokens",
        "litellmOrchestrator.serviceTokens[0].role",
        "litellmOrchestrator.serviceTokens[0].token",
        "litellmOrchestrator.serviceTokens[1].token",
        "litellmOrchestrator.timeouts.read",
    }
    assert "canary" not in "\n".join(told)


@pytest.mark.parametrize(
    ("place", "given", "sentence"),
    [
        ("liteLLM", {}, "liteLLM.baseUrl, liteLLM.masterKey: missing"),
        ("liteLLM.groupDefaults", [{"maxKeys": 1}], "liteLLM.groupDefaults[0].group: missing"),
        ("backend.https", {}, "backend.https: expected one of the forms in docs/settings.md"),
        ("backend.https", True, "backend.https: expected one of the forms in docs/settings.md"),
        (
            "backend.https",
            {"certificate": {"cert": "x"}},
            "backend.https: expected one of the forms in docs/settings.md",
        ),
        (
            "backend.database.connection",
            5,
            "backend.database.connection: expected one of the forms in docs/settings.md",
        ),
        ("backend.cors.maxAge", "x", "backend.cors.maxAge: expected integer"),
        ("litellmOrchestrator.audit", {"x": 1}, "litellmOrchestrator.audit: unknown x; known are retentionDays"),
        ("litellmOrchestrator.database", {}, "litellmOrchestrator.database.url: missing"),
        ("litellmOrchestrator.membership", "x", "litellmOrchestrator.membership: expected one of ['token', 'catalog']"),
        (
            "litellmOrchestrator.serviceTokens",
            [{"role": "admin"}],
            "litellmOrchestrator.serviceTokens[0].token, litellmOrchestrator.serviceTokens[0].subject: missing",
        ),
        ("litellmOrchestrator.secretKey", 5, "litellmOrchestrator.secretKey: expected ['string', 'array']"),
        ("litellmOrchestrator.secretKey", "x", "litellmOrchestrator.secretKey: expected at least 32 characters"),
        ("litellmOrchestrator.timeouts.read", 0, "litellmOrchestrator.timeouts.read: expected exclusiveMinimum 0"),
        (
            "litellmOrchestrator.trustedProxies",
            ["10.0.0.0/8", "a-proxy"],
            "litellmOrchestrator.trustedProxies[1]: expected an address or a network such as 10.0.0.0/8",
        ),
        (
            "litellmOrchestrator.trustedProxies",
            5,
            "litellmOrchestrator.trustedProxies: expected one of the forms in docs/settings.md",
        ),
        (
            "litellmOrchestrator.cli.keyLife",
            "8h\n",
            f"litellmOrchestrator.cli.keyLife: expected a match of ^{DURATION}$",
        ),
        ("litellmOrchestrator.cli.keyLife", "8d", "litellmOrchestrator.cli.keyLife: expected a duration from 5m to 7d"),
        (
            "litellmOrchestrator.cli.sessionLife",
            "59m",
            "litellmOrchestrator.cli.sessionLife: expected a duration from 1h to 1y",
        ),
        ("litellmOrchestrator.cleanup.maxRemovals", None, "litellmOrchestrator.cleanup.maxRemovals: expected integer"),
    ],
)
def test_what_an_operator_is_told(place: str, given: Any, sentence: str) -> None:
    """The setting by the name that they write, and what is expected there."""
    tree = config()
    *above, last = place.split(".")
    block = tree
    for name in above:
        block = block.setdefault(name, {})
    block[last] = given
    assert sentence in problems(tree)


@pytest.mark.parametrize("written", ["https://x", "https://x/", "https://x/api/litellm-orchestrator/"])
def test_the_public_address_may_be_written_with_the_path_of_the_service(written: str) -> None:
    """And devices have their lives in durations."""
    tree = config(
        litellmOrchestrator={
            "publicUrl": written, "trustedProxies": "10.0.0.1", "cli": {"keyLife": "1h", "clients": ["another-tool"]},
        }
    )  # fmt: skip
    settings = from_app_config(tree)
    assert settings.service_url == "https://x/api/litellm-orchestrator"
    assert settings.trusted_proxies == ("10.0.0.1",)
    assert (settings.command_line.key_life, settings.command_line.session_life) == (3600, 30 * 86400)
    assert settings.command_line.names == {"litellm-key", "another-tool"}


def test_an_empty_configuration_names_what_is_missing() -> None:
    """An empty file is a list of missing settings."""
    assert problems({}) == [
        "liteLLM: missing",
        "litellmOrchestrator.backstage.baseUrl: missing; set it or backend.baseUrl to Backstage's address",
    ]


def test_numbers_that_json_schema_accepts() -> None:
    """A number must be one, and finite, and a port at most 65535."""
    timeouts = {"timeouts": {"read": float("nan"), "pool": 10**400}}
    tree = config(backend={"baseUrl": "http://x", "listen": ":70000"}, litellmOrchestrator=timeouts)
    tree["liteLLM"]["userDefaults"]["maxBudget"] = float("inf")
    assert [line.partition(":")[0] for line in problems(tree)] == [
        "backend.listen",
        "liteLLM.userDefaults.maxBudget",
        "litellmOrchestrator.timeouts.pool",
        "litellmOrchestrator.timeouts.read",
    ]


@pytest.mark.parametrize(
    ("ours", "backstages", "url"),
    [
        (None, None, "sqlite+aiosqlite:///litellm-orchestrator.sqlite3"),
        (
            None,
            {"client": "better-sqlite3", "connection": ":memory:"},
            "sqlite+aiosqlite:///litellm-orchestrator.sqlite3",
        ),
        ("sqlite:///state.db", None, "sqlite+aiosqlite:///state.db"),
        ("postgresql://u:p@h/d", {"client": "pg", "connection": "postgres://x"}, "postgresql+psycopg://u:p@h/d"),
        ("postgres+asyncpg://u:p@h/d", None, "postgresql+psycopg://u:p@h/d"),
        (None, {"client": "pg", "connection": "postgres://u:p@h/d"}, "postgresql+psycopg://u:p@h/d"),
        (
            None,
            {"client": "pg", "connection": {"host": "h", "port": "1", "user": "u", "password": "p@/", "database": "d"}},
            "postgresql+psycopg://u:p%40%2F@h:1/d",
        ),
        (
            None,
            {"client": "pg", "connection": {"host": "h"}},
            "postgresql+psycopg://postgres:@h:5432/backstage_plugin_litellm-orchestrator",
        ),
    ],
)
def test_the_database_url(ours: str | None, backstages: Any, url: str) -> None:
    """Our own setting, else Backstage's PostgreSQL, else a file."""
    block = {} if ours is None else {"database": {"url": ours}}
    backend = {"baseUrl": "http://x"} | ({} if backstages is None else {"database": backstages})
    read = from_app_config(config(litellmOrchestrator=block, backend=backend))
    assert read.database_url == url


@pytest.mark.parametrize(
    ("ours", "asks"),
    [
        ({}, False),
        ({"backstage": {"catalogToken": "x" * 20}}, True),
        ({"backstage": {"catalogToken": "x" * 20}, "membership": "token"}, False),
        ({"backstage": {"catalogToken": "x" * 20}, "membership": "catalog"}, True),
    ],
)
def test_who_says_who_is_a_member(ours: dict[str, Any], *, asks: bool) -> None:
    """The catalog wherever it can be asked, as for the cleanup; an operator may have the token say it."""
    assert from_app_config(config(litellmOrchestrator=ours)).asks_catalog is asks


def test_settings_that_need_each_other() -> None:
    """The catalog needs a token, PostgreSQL a valid URL."""
    backend = {"baseUrl": "http://x", "database": {"client": "pg", "connection": ":memory:"}}
    told = problems(config(backend=backend, litellmOrchestrator={"membership": "catalog"}))
    assert [line.partition(":")[0] for line in told] == [
        "backend.database.connection",
        "litellmOrchestrator.backstage.catalogToken",
    ]


def test_the_cleanups_settings() -> None:
    """Seconds and users."""
    ours = {
        "cleanup": {
            "enabled": False,
            "interval": 60,
            "gracePeriod": 5,
            "maxRemovals": 0,
            "maxDeletions": 1,
            "deleteForeign": True,
        },
        "includeNestedGroups": False,
    }
    read = from_app_config(config(litellmOrchestrator=ours))
    assert (read.cleanup.enabled, read.cleanup.interval, read.cleanup.grace_period) == (False, 60, 5)
    assert (read.cleanup.max_removals, read.include_nested_groups) == (0, False)
    assert (read.cleanup.max_deletions, read.cleanup.delete_foreign) == (1, True)
    by_default = CleanupSettings()
    assert (by_default.grace_period, by_default.max_deletions, by_default.delete_foreign) == (7 * 86400, None, False)


def test_secrets_are_not_in_a_repr() -> None:
    """Settings may be printed."""
    ours = {
        "backstage": {"catalogToken": "canary-catalog"},
        "serviceTokens": [{"token": "canary-0123456789", "subject": "a", "role": "member"}],
        "secretKey": "canary-" * 5,
    }
    assert "canary" not in repr(from_app_config(config(litellmOrchestrator=ours)))


@pytest.mark.parametrize(
    ("ref", "full"),
    [
        ("admins", "group:default/admins"),
        ("Team-A", "group:default/team-a"),
        ("other/admins", "group:other/admins"),
        ("group:other/admins", "group:other/admins"),
        ("user:default/test", "user:default/test"),
        ("group:admins", "group:default/admins"),
    ],
)
def test_group_refs_are_filled_in_as_backstage_does(ref: str, full: str) -> None:
    """A bare name is a group of the default namespace."""
    assert full_group_ref(ref) == full


@pytest.mark.parametrize(
    ("given", "sent"),
    [(None, None), ("30d", "30d"), ("1mo", "1mo"), ("3mo", "90d"), ("12mo", "360d"), ("1y", "365d"), ("2w", "2w")],
)
def test_durations_that_litellm_rejects_are_converted(given: str | None, sent: str | None) -> None:
    """The plugin's README offers 1y; LiteLLM accepts neither years nor multiples of months."""
    assert litellm_duration(given) == sent


def test_the_page_of_settings_is_that_of_the_model() -> None:
    """Each setting has a row: `python -m settings.page` writes them."""
    assert PAGE.read_text() == page()


@pytest.mark.parametrize(
    ("single", "several", "expected"),
    [
        ("members", None, ("group:default/members",)),
        (None, ["Members", "lab/Research"], ("group:default/members", "group:lab/research")),
        ("members", ["group:default/members", "research"], ("group:default/members", "group:default/research")),
    ],
)
def test_groups_may_be_several(single: str | None, several: list[str] | None, expected: tuple[str, ...]) -> None:
    """The plugin's single name, a list, or both; each group counts once."""
    given = {"allowedGroup": single, "allowedGroups": several}
    litellm: dict[str, Any] = {"baseUrl": "http://litellm", "masterKey": "sk-x", "adminGroup": "admins"}
    litellm |= {name: value for name, value in given.items() if value is not None}
    read = from_app_config({"liteLLM": litellm, "backend": {"baseUrl": "http://backstage"}})
    assert read.groups == GroupRefs(allowed=expected, admin=("group:default/admins",))


def test_no_group_at_all_is_a_problem() -> None:
    """An empty list would off-board everybody."""
    litellm = {"baseUrl": "http://litellm", "masterKey": "sk-x", "adminGroups": []}
    with pytest.raises(SettingsError) as error:
        from_app_config({"liteLLM": litellm, "backend": {"baseUrl": "http://backstage"}})
    assert error.value.problems == [
        "liteLLM.adminGroups: expected minItems 1",
        "liteLLM.allowedGroup: missing; set it or allowedGroups",
    ]
