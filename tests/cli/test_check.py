"""The check before the start: what it finds, what it advises, and its exit codes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import Ports
from cli import check
from domain.users import Tier
from domain.workloads import KeySource
from settings.model import BackstageSettings, Issuer, LiteLLMSettings, Settings, WorkloadSettings
from standalone.backstage import BASE_URL, BackstageStandIn
from standalone.catalog import CATALOG_TOKEN
from standalone.environment import standalone_settings
from standalone.issuer import AUDIENCE, URL
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from state.database import REVISION
from tests.conftest import Clock
from tests.support.findings import other_lines
from tests.support.issuers import DISCOVERY, SigningIssuer
from tests.support.issuers import JWKS as OIDC_JWKS
from tests.support.once import migrated_database
from tests.support.processes import output
from tests.support.upstreams import Answer, Overriding, refuse, respond

JWKS = "/api/auth/.well-known/jwks.json"
DATE = "Fri, 15 Jan 2027 08:00:00 GMT"
NO_ENTITY, ILLEGAL_TOKEN = ({"error": {"name": name}} for name in ("NotFoundError", "AuthenticationError"))
LITELLM_PATHS = ("/health/readiness", "/health/readiness/details", "/user/list", "/models", "/model/info")
GROUP = "/api/catalog/entities/by-name/group/default/litellm-users"
Change = Callable[[Settings], Settings]


@dataclass
class Place:
    """A folder with stand-ins. `litellm` and `backstage` are what they answer instead of the usual."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    litellm: dict[str, Answer] = field(default_factory=dict)
    backstage: dict[str, Answer] = field(default_factory=dict)
    issuer: dict[str, Answer] = field(default_factory=dict)
    ahead: float = 0

    def run(self, *, as_json: bool = False, change: Change = lambda settings: settings) -> int:
        stand_in = BackstageStandIn(now=self.clock)

        def dated(_: httpx.Request) -> httpx.Response:
            keys = {"keys": [stand_in._user_key.as_dict(private=False)]}
            date = formatdate(self.clock() + self.ahead, usegmt=True)
            return httpx.Response(200, json=keys, headers={"Date": date})

        to_litellm = Overriding(httpx.ASGITransport(LiteLLMStandIn(now=self.clock).app), self.litellm)
        to_backstage = Overriding(httpx.ASGITransport(stand_in.app), {JWKS: dated} | self.backstage)
        issuer = SigningIssuer(self.clock, URL)
        issuer.answers = self.issuer
        ports = Ports(litellm=to_litellm, backstage=to_backstage, issuers=issuer, wall_clock=self.clock)
        return check.run(change(standalone_settings(str(self.folder))), as_json=as_json, ports=ports)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Synchronous: the command line starts its own event loop."""
    migrated_database(tmp_path)
    return Place(tmp_path)


def test_everything_is_well(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Each part has a line."""
    assert place.run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:8].strip() for line in lines] == ["ok"] * 14
    assert [line[9:].partition(": ")[0] for line in lines] == [
        "LiteLLM", "LiteLLM's version", "LiteLLM's master key", "models", "Backstage's signing keys",
        "Backstage's clock", "allowedGroup", "adminGroup", "owners, component spec.type=service",
        "owners, group spec.type=team", "issuer standalone", "sign-in of devices", "database", "disk",
    ]  # fmt: skip
    assert "ok       LiteLLM's version: 1.104.5" in lines
    assert lines[4].endswith("publishes them, for ES256")
    assert lines[11].endswith(
        "sign-in of devices: at http://orchestrator.standalone/api/litellm-orchestrator/console#/devices"
    )
    assert lines[12].endswith("its schema is up to date")


def test_json(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for a program."""
    assert place.run(as_json=True) == 0
    findings = json.loads(capsys.readouterr().out)
    assert findings[1] == {"subject": "LiteLLM's version", "verdict": "ok", "found": "1.104.5", "remedy": None}


def tiers(**limits: Any) -> Change:
    return lambda settings: replace(
        settings, litellm=LiteLLMSettings(settings.litellm.base_url, MASTER_KEY, Tier(**limits))
    )


def without_catalog_token(settings: Settings) -> Settings:
    return replace(settings, backstage=BackstageSettings(BASE_URL))


def with_auditors_of(group: str) -> Change:
    return lambda settings: replace(settings, groups=replace(settings.groups, auditor=(group,)))


def with_issuer(**of_settings: Any) -> Change:
    issuer = Issuer(**{"name": "ci", "url": URL, "audience": AUDIENCE} | of_settings)
    return lambda settings: replace(settings, workloads=WorkloadSettings((issuer,)))


def database(url: str) -> Change:
    return lambda settings: replace(settings, database_url=url)


@pytest.mark.parametrize(
    ("arrange", "change", "code", "says"),
    [
        ({"litellm": {"/health/readiness": refuse}}, None, 1,
         ["failed   LiteLLM: LiteLLM cannot be reached", "baseUrl"]),
        ({"litellm": {"/health/readiness": respond(200, json={"db": "Not connected"})}}, None, 1, ["no database"]),
        ({"litellm": dict.fromkeys(LITELLM_PATHS, respond(302))}, None, 1,
         ["failed   LiteLLM: LiteLLM redirects (status 302)", "failed   LiteLLM's master key: LiteLLM redirects",
          "Correct what is said about LiteLLM first."]),
        ({"litellm": {"/user/list": respond(401, json={"error": {"message": "no"}})}}, None, 1,
         ["failed   LiteLLM's master key", "LITELLM_MASTER_KEY"]),
        ({"litellm": {"/health/readiness/details": respond(200, json={"litellm_version": "1.89.9"})}}, None, 0,
         ["warning  LiteLLM's version: 1.89.9", "tried with LiteLLM 1.90 to 1.109"]),
        ({"litellm": {"/health/readiness/details": respond(404, json={})}}, None, 0, ["warning  LiteLLM's version"]),
        ({"litellm": {"/models": respond(200, json={"data": []})}}, None, 0, ["warning  models: LiteLLM serves none"]),
        ({}, tiers(models=("gpt-fake", "gpt-9", "openai/*")), 0, ["warning  models: LiteLLM does not serve gpt-9\n"]),
        ({"backstage": {JWKS: refuse}}, None, 1, ["failed   Backstage's signing keys", "without /api"]),
        ({"backstage": {JWKS: respond(200, json={"keys": []}, headers={"Date": DATE})}}, None, 0,
         ["warning  Backstage's signing keys", "publishes none"]),
        ({"backstage": {JWKS: respond(200, json={"keys": [{"kty": "oct"}]})}}, None, 1,
         ["failed   Backstage's signing keys", "of kinds that this service does not know"]),
        ({"ahead": 45}, None, 0, ["warning  Backstage's clock: 45 s ahead", "Synchronise"]),
        ({"ahead": -45}, None, 0, ["warning  Backstage's clock: 45 s behind"]),
        ({"backstage": {GROUP: respond(401, json=ILLEGAL_TOKEN)}}, None, 1,
         ["failed   allowedGroup", "externalAccess"]),
        ({"backstage": {GROUP: respond(404, json=NO_ENTITY)}}, None, 1,
         ["failed   allowedGroup: Backstage's catalog has no group"]),
        ({}, with_auditors_of("group:default/gone"), 1, ["failed   auditorGroups: Backstage's catalog has no group"]),
        ({}, without_catalog_token, 0, ["warning  Backstage's catalog: there is no token", "keep their keys"]),
        ({}, without_catalog_token, 0,
         ["warning  sign-in of devices: off, and so is renewing their keys", "Set litellmOrchestrator.backstage"]),
        ({}, lambda settings: replace(settings, public_url=None), 0,
         ["ok       sign-in of devices: off: litellmOrchestrator.publicUrl is not set\n"]),
        ({}, with_issuer(), 0, [f"ok       issuer ci: {URL} has 1 keys, for ES256\n"]),
        ({}, with_issuer(jwks=KeySource(inline={"keys": [{"kty": "EC", "kid": "k"}]})), 0,
         ["warning  issuer ci: it has no keys that this service knows", "Correct its jwks"]),
        ({"issuer": {DISCOVERY: refuse}}, with_issuer(), 0,
         ["warning  issuer ci: Issuer ci cannot be reached", f"Correct its url ({URL}), jwks or caFile"]),
        ({"issuer": {DISCOVERY: respond(200, json={"issuer": f"{URL}/", "jwks_uri": URL})}}, with_issuer(), 0,
         ["warning  issuer ci: Issuer ci has a discovery document of another issuer than its url"]),
        ({"issuer": {OIDC_JWKS: respond(200, json={"keys": []})}}, with_issuer(), 0,
         ["warning  issuer ci: it has no keys that this service knows"]),
        ({}, database("postgresql+psycopg://u:canary@127.0.0.1:9/state"), 1, ["127.0.0.1:9/state cannot be used"]),
        ({}, database("sqlite+aiosqlite:////no/such/folder/state.sqlite3"), 1, ["failed   database"]),
    ],
)  # fmt: skip
def test_what_is_wrong(  # noqa: PLR0917
    place: Place, capsys: pytest.CaptureFixture[str],
    arrange: dict[str, Any], change: Change | None, code: int, says: list[str],
) -> None:  # fmt: skip
    """It says what, and what to do; a warning does not stop anybody."""
    place = replace(place, **arrange)
    assert place.run(change=change or (lambda settings: settings)) == code
    printed = capsys.readouterr().out
    assert [text for text in says if text not in printed] == [], printed
    assert "canary" not in printed
    assert printed.count("→") == sum(not line.startswith(("ok ", " ")) for line in printed.splitlines())


def test_it_changes_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A database that does not exist is not created, and an old one is not migrated."""
    file = place.folder / "state.sqlite3"
    with sqlite3.connect(file) as connection:
        connection.execute("update alembic_version set version_num = '0001'")
    connection.close()
    assert place.run() == 0
    assert f"its schema is at 0001; the next start migrates it to {REVISION}" in capsys.readouterr().out
    file.unlink()
    assert place.run() == 0
    assert "its schema is at none; the next start migrates it" in capsys.readouterr().out
    assert not file.exists()


def test_ids_in_another_spelling(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody can open them, so an operator hears of it."""
    with sqlite3.connect(place.folder / "state.sqlite3") as connection:
        row = "insert into directory_user (user_id, searched, is_over_budget, sweep) values (?, ?, false, 1)"
        connection.executemany(
            row, [(user_id, user_id.lower()) for user_id in ("user:default/Zoe", "user:default/amy")]
        )
    connection.close()
    assert place.run() == 0
    said = capsys.readouterr().out
    assert "warning  ids of users: LiteLLM has users whose id is not in lower case, such as user:default/Zoe\n" in said


def test_users_from_before(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Users under other ids are no fault; an operator hears how they become people's."""
    with sqlite3.connect(place.folder / "state.sqlite3") as connection:
        row = "insert into directory_stranger (user_id, address, sweep) values (?, ?, 1)"
        connection.executemany(row, [("uuid-1", "zoe@example.com"), ("uuid-2", "amy@example.com")])
    connection.close()
    assert place.run() == 0
    said = capsys.readouterr().out
    found = "ok       users from before: LiteLLM has 2 users with an e-mail address that are no Backstage users\n"
    assert found in said
    assert "adopt --by email" in said


def test_little_room(place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than a gibibyte on the disk of an SQLite file."""
    monkeypatch.setattr("services.diagnosis._MIN_FREE_BYTES", 1 << 60)
    assert place.run() == 0
    assert "warning  disk: " in capsys.readouterr().out


async def test_the_command(tmp_path: Path) -> None:
    """Settings that are invalid are 2, what does not work is 1; no secret is printed."""
    config = tmp_path / "app-config.yaml"
    config.write_text(
        f"""
        liteLLM: {{baseUrl: 'http://127.0.0.1:9', masterKey: sk-canary, adminGroup: a, allowedGroup: b}}
        backend: {{baseUrl: 'http://127.0.0.1:9'}}
        litellmOrchestrator:
          database: {{url: 'sqlite:///{tmp_path}/state.sqlite3'}}
          backstage: {{catalogToken: {CATALOG_TOKEN}}}
        """
    )
    code, printed = await output("check", "--config", str(config))
    assert (code, printed.count("failed   ")) == (1, 6), printed
    assert "sk-canary" not in printed
    assert CATALOG_TOKEN not in printed
    # What is printed is findings and advice: no log lines, and nothing about calls that were not made.
    assert other_lines(printed) == []
    assert "paused" not in printed
    code, printed = await output("check", "--json", "--config", str(config))
    assert (code, [row["verdict"] for row in json.loads(printed)].count("failed")) == (1, 6)
    config.write_text("liteLLM: {}")
    assert (await output("check", "--config", str(config)))[0] == 2
