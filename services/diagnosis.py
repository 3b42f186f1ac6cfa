"""A check before the start: what this service needs of LiteLLM, Backstage and its database, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from clients.backstage.catalog import Catalog, CatalogRefusedError, GroupMissingError
from clients.backstage.tokens import TokenVerifier
from clients.litellm.client import LiteLLM
from clients.litellm.usage import LiteLLMUsage
from domain.errors import UpstreamError, UpstreamFaultError
from settings.model import Settings
from state.database import Database, DatabaseUnavailableError

TRIED_LITELLM = "1.104"
_MAX_CLOCK_DIFFERENCE_SECONDS = 30.0
_MIN_FREE_BYTES = 1 << 30


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
class Diagnosis:
    """Checks everything, each part on its own, and changes nothing.

    `clock_difference` is the number of seconds by which Backstage's clock is ahead; it may raise UpstreamError.
    """

    settings: Settings
    litellm: LiteLLM
    usage: LiteLLMUsage
    tokens: TokenVerifier
    catalog: Catalog | None
    database: Database
    clock_difference: Callable[[], Awaitable[float]]

    async def findings(self) -> AsyncIterator[Finding]:
        """Each finding, as soon as it is there."""
        for check in (
            self._litellm,
            self._litellm_version,
            self._master_key,
            self._models,
            self._signing_keys,
            self._clock,
            self._groups,
            self._database,
        ):
            async for finding in check():
                yield finding

    async def _litellm(self) -> AsyncIterator[Finding]:
        subject, address = "LiteLLM", self.settings.litellm.base_url
        try:
            is_ready = await self.litellm.is_ready()
        except UpstreamError as error:
            yield _failed(subject, error.message, f"Start LiteLLM, or correct liteLLM.baseUrl ({address}).")
            return
        if is_ready:
            yield Finding(subject, Verdict.OK, f"{address} is ready")
        else:
            yield _failed(
                subject, f"{address} has no database", "LiteLLM keeps users and keys in PostgreSQL: connect it."
            )

    async def _litellm_version(self) -> AsyncIterator[Finding]:
        subject = "LiteLLM's version"
        try:
            version = await self.litellm.version()
        except UpstreamError as error:
            yield Finding(subject, Verdict.WARNING, error.message, "Correct what is said about LiteLLM first.")
            return
        if version.startswith(f"{TRIED_LITELLM}."):
            yield Finding(subject, Verdict.OK, version)
        else:
            remedy = f"This service was tried with {TRIED_LITELLM}: try yours with `make live` before you rely on it."
            yield Finding(subject, Verdict.WARNING, version, remedy)

    async def _master_key(self) -> AsyncIterator[Finding]:
        subject = "LiteLLM's master key"
        try:
            users = (await self.litellm.users_around(0)).total
        except UpstreamFaultError as error:
            yield _failed(subject, error.message, "Set liteLLM.masterKey to LITELLM_MASTER_KEY of LiteLLM.")
        except UpstreamError as error:
            yield _failed(subject, error.message, "Correct what is said about LiteLLM first.")
        else:
            yield Finding(subject, Verdict.OK, f"it may list users: there are {users}")

    async def _models(self) -> AsyncIterator[Finding]:
        subject = "models"
        try:
            served = await self.usage.models()
        except UpstreamError as error:
            yield _failed(subject, error.message, "Correct what is said about LiteLLM first.")
            return
        if not served:
            yield Finding(subject, Verdict.WARNING, "LiteLLM serves none", "Add models to LiteLLM's configuration.")
            return
        tiers = (self.settings.litellm.user_defaults, *self.settings.litellm.group_defaults)
        missing = sorted({model for tier in tiers for model in tier.models if "*" not in model} - set(served))
        if missing:
            remedy = "Correct liteLLM.userDefaults.models and liteLLM.groupDefaults, or add the models to LiteLLM."
            yield Finding(subject, Verdict.WARNING, f"LiteLLM does not serve {', '.join(missing)}", remedy)
        else:
            yield Finding(subject, Verdict.OK, f"LiteLLM serves {len(served)}")

    async def _signing_keys(self) -> AsyncIterator[Finding]:
        subject, address = "Backstage's signing keys", self.settings.backstage.base_url
        if await self.tokens.is_ready():
            yield Finding(subject, Verdict.OK, f"{address} publishes them")
        else:
            remedy = f"Start Backstage, or correct litellmOrchestrator.backstage.baseUrl ({address}), without /api."
            yield _failed(subject, f"{address} does not publish them", remedy)

    async def _clock(self) -> AsyncIterator[Finding]:
        subject = "Backstage's clock"
        try:
            seconds = await self.clock_difference()
        except UpstreamError as error:
            yield Finding(subject, Verdict.WARNING, error.message, "Correct what is said about Backstage first.")
            return
        found = f"{abs(seconds):.0f} s {'ahead' if seconds > 0 else 'behind'}"
        if abs(seconds) <= _MAX_CLOCK_DIFFERENCE_SECONDS:
            yield Finding(subject, Verdict.OK, found)
        else:
            yield Finding(
                subject, Verdict.WARNING, found, "Synchronise both: tokens are valid by the clock, to a minute."
            )

    async def _groups(self) -> AsyncIterator[Finding]:
        if self.catalog is None:
            remedy = "Set litellmOrchestrator.backstage.catalogToken, or users who leave keep their keys."
            yield Finding("Backstage's catalog", Verdict.WARNING, "there is no token for it", remedy)
            return
        for setting, group in (
            ("allowedGroup", self.settings.allowed_group),
            ("adminGroup", self.settings.admin_group),
        ):
            yield await self._group(self.catalog, setting, group)

    async def _group(self, catalog: Catalog, setting: str, group: str) -> Finding:
        try:
            members = await catalog.members_of(group, _no_pause)
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

    async def _database(self) -> AsyncIterator[Finding]:
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
        if state.free_bytes < _MIN_FREE_BYTES:
            remedy = "Make room: without it no change can be recorded, and none is made."
            yield Finding("disk", Verdict.WARNING, f"{state.free_bytes / (1 << 20):.0f} MiB are free", remedy)
        elif state.free_bytes < math.inf:
            yield Finding("disk", Verdict.OK, f"{state.free_bytes / (1 << 30):.0f} GiB are free")


def _failed(subject: str, found: str, remedy: str) -> Finding:
    return Finding(subject, Verdict.FAILED, found, remedy)


async def _no_pause() -> None:
    """Nothing has to be renewed between two pages."""
