"""A check before the start: what this service needs of LiteLLM, Backstage, issuers and its database, and what to do."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from clients.backstage.catalog import Catalog, CatalogRefusedError, GroupMissingError, no_pause
from clients.backstage.tokens import TokenVerifier
from clients.litellm.client import LiteLLM
from clients.litellm.rows import MasterKeyRefusedError
from clients.litellm.served_models import LiteLLMModels
from clients.oidc.issuers import Issuers
from domain.errors import UpstreamError
from domain.owners import OwnerEntry
from services.litellm_version import advice_about
from services.users.models import not_served
from settings.model import Issuer, LiteLLMSettings, Settings
from state.database import Database, DatabaseUnavailableError
from state.directory import Directory

_MAX_CLOCK_DIFFERENCE_SECONDS = 30.0
_MIN_FREE_BYTES = 1 << 30
_SHOWN_IDS = 3
_KEY_REMEDY = (
    "Set liteLLM.masterKey to LITELLM_MASTER_KEY of LiteLLM, which must take it as a bearer token for every route: "
    "see allowed_routes, custom_auth and litellm_key_header_name there."
)


class Verdict(StrEnum):
    """How grave a finding is. With a failure the service does not work; with a warning less than usual."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and unless it is good, what to do about it."""

    subject: str
    verdict: Verdict
    found: str
    remedy: str | None = None


@dataclass(frozen=True, kw_only=True)
class LiteLLMCheck:
    """LiteLLM: whether it answers, its version, what its master key may do, and its models."""

    settings: LiteLLMSettings
    litellm: LiteLLM
    models: LiteLLMModels

    async def findings(self) -> AsyncIterator[Finding]:
        """Each finding, as soon as it is there."""
        for check in (self._readiness, self._version, self._master_key, self._models):
            yield await check()

    async def _readiness(self) -> Finding:
        subject, address = "LiteLLM", self.settings.base_url
        try:
            is_ready = await self.litellm.is_ready()
        except UpstreamError as error:
            return _failed(subject, error.message, f"Start LiteLLM, or correct liteLLM.baseUrl ({address}).")
        if is_ready:
            return Finding(subject, Verdict.OK, f"{address} is ready")
        return _failed(subject, f"{address} has no database", "LiteLLM keeps users and keys in PostgreSQL: connect it.")

    async def _version(self) -> Finding:
        subject = "LiteLLM's version"
        try:
            version = await self.litellm.version()
        except UpstreamError as error:
            return Finding(subject, Verdict.WARNING, error.message, "Correct what is said about LiteLLM first.")
        advice = advice_about(version)
        return Finding(subject, Verdict.OK if advice is None else Verdict.WARNING, version, advice)

    async def _master_key(self) -> Finding:
        subject = "LiteLLM's master key"
        try:
            users = (await self.litellm.users_around(0)).total
        except MasterKeyRefusedError as error:
            return _failed(subject, error.message, _KEY_REMEDY)
        except UpstreamError as error:
            return _failed(subject, error.message, "Correct what is said about LiteLLM first.")
        else:
            return Finding(subject, Verdict.OK, f"it may list users: there are {users}")

    async def _models(self) -> Finding:
        subject = "models"
        try:
            served = await self.models.served()
        except UpstreamError as error:
            return _failed(subject, error.message, "Correct what is said about LiteLLM first.")
        if not served.models and not served.wildcards:
            return Finding(subject, Verdict.WARNING, "LiteLLM serves none", "Add models to LiteLLM's configuration.")
        if missing := not_served(self.settings.tiers, served):
            remedy = "Correct liteLLM.userDefaults.models and liteLLM.groupDefaults, or add the models to LiteLLM."
            return Finding(subject, Verdict.WARNING, f"LiteLLM does not serve {', '.join(missing)}", remedy)
        return Finding(subject, Verdict.OK, f"LiteLLM serves {len(served.models)}")


@dataclass(frozen=True, kw_only=True)
class BackstageCheck:
    """Backstage: its signing keys, its clock, the groups in its catalog, and what the entries of owners match there."""

    settings: Settings
    tokens: TokenVerifier
    catalog: Catalog | None

    async def findings(self) -> AsyncIterator[Finding]:
        """Each finding, as soon as it is there."""
        yield await self._signing_keys()
        yield await self._clock()
        if self.catalog is None:
            remedy = "Set litellmOrchestrator.backstage.catalogToken, or users who leave keep their keys."
            yield Finding("Backstage's catalog", Verdict.WARNING, "there is no token for it", remedy)
            return
        groups = self.settings.groups
        named = {"allowedGroup": groups.allowed, "adminGroup": groups.admin, "auditorGroups": groups.auditor}
        for setting, refs in named.items():
            for group in refs:
                yield await self._group(self.catalog, setting, group)
        for entry in self.settings.owners:
            yield await self._entry(self.catalog, entry)

    async def _signing_keys(self) -> Finding:
        subject, address = "Backstage's signing keys", self.settings.backstage.base_url
        try:
            algorithms = await self.tokens.algorithms()
        except UpstreamError as error:
            remedy = f"Start Backstage, or correct litellmOrchestrator.backstage.baseUrl ({address}), without /api."
            return _failed(subject, error.message, remedy)
        if not algorithms:
            return Finding(subject, Verdict.WARNING, f"{address} publishes none", "Sign in to Backstage once.")
        return Finding(subject, Verdict.OK, f"{address} publishes them, for {', '.join(sorted(algorithms))}")

    async def _clock(self) -> Finding:
        subject = "Backstage's clock"
        try:
            seconds = await self.tokens.clock_difference()
        except UpstreamError as error:
            return Finding(subject, Verdict.WARNING, error.message, "Correct what is said about Backstage first.")
        found = f"{abs(seconds):.0f} s {'ahead' if seconds > 0 else 'behind'}"
        if abs(seconds) <= _MAX_CLOCK_DIFFERENCE_SECONDS:
            return Finding(subject, Verdict.OK, found)
        return Finding(subject, Verdict.WARNING, found, "Synchronise both: tokens are valid by the clock, to a minute.")

    async def _group(self, catalog: Catalog, setting: str, group: str) -> Finding:
        try:
            members = (await catalog.members_of(group, no_pause)).users
        except CatalogRefusedError as error:
            remedy = "Give Backstage's backend.auth.externalAccess a static token, and set catalogToken to it."
            return _failed(setting, error.message, remedy)
        except GroupMissingError as error:
            return _failed(setting, error.message, f"Correct liteLLM.{setting}, or add the group to the catalog.")
        except UpstreamError as error:
            return _failed(setting, error.message, "Correct what is said about Backstage first.")
        if not members:
            return _failed(
                setting, f"{group} has no members", f"Correct liteLLM.{setting}, or add members to the group."
            )
        return Finding(setting, Verdict.OK, f"{group} has {len(members)} members")

    async def _entry(self, catalog: Catalog, entry: OwnerEntry) -> Finding:
        subject = f"owners, {entry.name}"
        try:
            entities = await catalog.owners(entry.kind, entry.conditions, no_pause)
        except UpstreamError as error:
            return _failed(subject, error.message, "Correct what is said about Backstage first.")
        if not entities:
            remedy = (
                "Correct the filter in litellmOrchestrator.owners; as it is, whom it matched before is off-boarded."
            )
            return Finding(subject, Verdict.WARNING, "it matches nothing in the catalog", remedy)
        return Finding(subject, Verdict.OK, f"it matches {len(entities)} in the catalog")


@dataclass(frozen=True, kw_only=True)
class IssuersCheck:
    """The issuers of tokens of workloads: whether their keys can be had, and are of use."""

    settings: Sequence[Issuer]
    issuers: Issuers

    async def findings(self) -> AsyncIterator[Finding]:
        """Each finding, as soon as it is there."""
        for issuer in self.settings:
            yield await self._keys(issuer)

    async def _keys(self, issuer: Issuer) -> Finding:
        subject, block = f"issuer {issuer.name}", "litellmOrchestrator.workloads.issuers"
        try:
            algorithms = await self.issuers.algorithms(issuer.name)
        except UpstreamError as error:
            remedy = f"Correct its url ({issuer.url}), jwks or caFile in {block}: its workloads get no keys."
            return Finding(subject, Verdict.WARNING, error.message, remedy)
        if not algorithms:
            remedy = f"Correct its jwks in {block}: its workloads get no keys."
            return Finding(subject, Verdict.WARNING, "it has no keys that this service knows", remedy)
        count = self.issuers.health(issuer.name).count
        return Finding(subject, Verdict.OK, f"{issuer.url} has {count} keys, for {', '.join(sorted(algorithms))}")


@dataclass(frozen=True, kw_only=True)
class DevicesCheck:
    """Whether people can sign their devices in."""

    settings: Settings

    async def findings(self) -> AsyncIterator[Finding]:
        """The one finding."""
        subject, page = "sign-in of devices", self.settings.service_url
        if self.settings.backstage.catalog_token is None:
            found = "off, and so is renewing their keys: there is no token for Backstage's catalog"
            remedy = "Set litellmOrchestrator.backstage.catalogToken: each key is given by what the catalog says then."
            yield Finding(subject, Verdict.WARNING, found, remedy)
        elif page is None:
            yield Finding(subject, Verdict.OK, "off: litellmOrchestrator.publicUrl is not set")
        else:
            yield Finding(subject, Verdict.OK, f"at {page}/console#/devices")


@dataclass(frozen=True, kw_only=True)
class DatabaseCheck:
    """The database: whether it can be used, its schema, the room for it, and what it knows of LiteLLM's users."""

    database: Database
    directory: Directory

    async def findings(self) -> AsyncIterator[Finding]:
        """Each finding, as soon as it is there."""
        subject = "database"
        try:
            state = await self.database.inspect()
        except DatabaseUnavailableError as error:
            found = f"{error.where} cannot be used"
            yield _failed(subject, found, "Start it, or correct litellmOrchestrator.database.url.")
            return
        if not state.may_create:
            yield _failed(
                subject, f"{state.where} may not be changed", "Grant the user the right to create tables there."
            )
            return
        schema = "up to date" if state.revision == state.newest else f"at {state.revision or 'none'}"
        migrates = "" if state.revision == state.newest else f"; the next start migrates it to {state.newest}"
        yield Finding(subject, Verdict.OK, f"{state.where}, its schema is {schema}{migrates}")
        if state.revision == state.newest and (ids := await self.directory.misspelt(_SHOWN_IDS)):
            found = f"LiteLLM has users whose id is not in lower case, such as {', '.join(ids)}"
            remedy = "`litellm-orchestrator adopt` gives their keys to the right ids: these cannot be opened here."
            yield Finding("ids of users", Verdict.WARNING, found, remedy)
        if state.revision == state.newest and (strangers := await self.directory.count_strangers()):
            found = f"LiteLLM has {strangers} users with an e-mail address that are no Backstage users"
            remedy = "`litellm-orchestrator adopt --by email` says whose they are, and gives them their keys."
            yield Finding("users from before", Verdict.OK, found, remedy)
        if state.free_bytes < _MIN_FREE_BYTES:
            remedy = "Make room: without it no change can be recorded, and none is made."
            yield Finding("disk", Verdict.WARNING, f"{state.free_bytes / (1 << 20):.0f} MiB are free", remedy)
        elif state.free_bytes < math.inf:
            yield Finding("disk", Verdict.OK, f"{state.free_bytes / (1 << 30):.0f} GiB are free")


def _failed(subject: str, found: str, remedy: str) -> Finding:
    return Finding(subject, Verdict.FAILED, found, remedy)
