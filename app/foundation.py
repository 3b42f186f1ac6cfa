"""The clients and the state of one process."""

from __future__ import annotations

import os
import secrets
import socket
from functools import partial

import httpx

from app.contract import contract
from app.ports import Ports
from clients.backstage.catalog import Catalog
from clients.backstage.tokens import TokenVerifier
from clients.breaker import Breaker
from clients.litellm.accounts import LiteLLMAccounts
from clients.litellm.blocking import LiteLLMBlocking
from clients.litellm.client import LiteLLM
from clients.litellm.daily_usage import LiteLLMUsage
from clients.litellm.odd import OddRows
from clients.litellm.served_models import LiteLLMModels
from clients.oidc.issuers import Issuers
from clients.upstream import Upstream
from domain.circuits import Circuit
from settings.model import Settings
from state.adoption_runs import AdoptionRuns
from state.changes import ChangeTable
from state.cleanup_runs import CleanupRuns
from state.code_guesses import CodeGuesses
from state.database import Database
from state.deletions import Deletions
from state.device_codes import DeviceCodes
from state.directory import Directory
from state.due import DueQueue
from state.events import Events
from state.kept_answers import KeptAnswers
from state.lease import Lease
from state.offboardings import Offboardings
from state.rates import Rates
from state.refused_exchanges import RefusedExchanges
from state.repetitions import Repetitions
from state.revocations import ReportedKeys, Revocations
from state.root import Root
from state.sessions import Sessions
from state.short_keys import ShortKeys
from telemetry.metrics import Metrics

_LONGEST_LEASE_SECONDS = 60.0


class Foundation:
    """The clients and the state of one process. Without a catalog token there is no catalog."""

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self.metrics = Metrics(contract()["info"]["version"])
        self._settings, self._ports = settings, ports
        self.breakers = {
            name: Breaker(name, settings.circuit_breaker, ports.clock) for name in ("LiteLLM", "Backstage")
        }
        for name, breaker in self.breakers.items():
            self.metrics.track(self.metrics.upstream_paused.labels(name), partial(_is_paused, breaker))
        to_litellm = self._litellm()
        odd_rows = self.metrics.odd_rows
        self.litellm = LiteLLM(to_litellm, OddRows(lambda table, column: odd_rows.labels(table, column).inc()))
        self.litellm_models = LiteLLMModels(to_litellm)
        self.litellm_usage = LiteLLMUsage(to_litellm)
        self.litellm_blocking = LiteLLMBlocking(to_litellm, self.litellm)
        self.litellm_accounts = LiteLLMAccounts(to_litellm, self.litellm)
        self.tokens = TokenVerifier(
            self._backstage(None),
            issuer=settings.backstage.issuer,
            service_tokens=settings.service_tokens,
            plugins=settings.backstage.allowed_plugins,
            now=ports.wall_clock,
            observe=lambda result: self.metrics.token_checks.add((result,)),
        )
        calls = self.metrics.upstream_calls
        self.issuers = Issuers(
            settings.workloads.issuers,
            timeouts=settings.timeouts,
            now=ports.wall_clock,
            transport=ports.issuers,
            sleep=ports.sleep,
            observe=lambda outcome, seconds: calls.observe(("issuers", outcome), seconds),
        )
        self.catalog: Catalog | None = None
        if settings.backstage.catalog_token is not None:
            to_catalog = self._backstage(settings.backstage.catalog_token)
            self.catalog = Catalog(
                to_catalog,
                include_nested_groups=settings.include_nested_groups,
                keep_orphans=settings.cleanup.orphans == "keep",
            )
        self.database = Database(settings.database_url, ports.wall_clock)
        self.root = Root(self.database)
        self.directory = Directory(self.database)
        self.kept_answers = KeptAnswers(self.database)
        self.rates = Rates(self.database)
        self.change_table = ChangeTable(self.database, self.kept_answers, self.rates)
        self.events = Events(self.database)
        self.due = DueQueue(self.database)
        self.revocations = Revocations(self.due, ports.clock)
        self.reported = ReportedKeys(self.database, self.due)
        self.short_keys = ShortKeys(self.database, self.due, self.kept_answers)
        self.refused_exchanges = RefusedExchanges(self.database, self.due, self.rates)
        self.device_codes = DeviceCodes(self.database)
        self.code_guesses = CodeGuesses(self.database)
        self.sessions = Sessions(self.database, self.due)
        self.repetitions = Repetitions(self.database)
        replica = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        lease_life = min(_LONGEST_LEASE_SECONDS, settings.cleanup.interval)
        self.lease = Lease(self.database, "cleanup", owner=replica, life=lease_life)
        self.offboardings = Offboardings(self.database, self.lease)
        self.deletions = Deletions(self.database, self.lease)
        self.cleanup_runs = CleanupRuns(self.database, owner=replica)
        self.adoption_runs = AdoptionRuns(self.database, owner=replica)

        self.metrics.track(self.metrics.cached_tokens, lambda: self.tokens.cached_tokens)
        self.metrics.track(self.metrics.database_connections, lambda: self.database.connections_in_use)

    def _litellm(self) -> Upstream:
        settings = self._settings.litellm
        return self._upstream("LiteLLM", settings.base_url, settings.master_key, self._ports.litellm)

    def _backstage(self, token: str | None) -> Upstream:
        return self._upstream("Backstage", self._settings.backstage.base_url, token, self._ports.backstage)

    def _upstream(
        self, name: str, base_url: str, token: str | None, transport: httpx.AsyncBaseTransport | None
    ) -> Upstream:
        calls = self.metrics.upstream_calls
        upstream = Upstream(
            name,
            base_url,
            timeouts=self._settings.timeouts,
            token=token,
            transport=transport,
            sleep=self._ports.sleep,
            breaker=self.breakers[name],
            tracing=self._ports.tracing,
            observe=lambda outcome, seconds: calls.observe((name, outcome), seconds),
        )
        self.metrics.track(self.metrics.upstream_connections.labels(name), lambda: upstream.connections_in_use)
        self.metrics.track(self.metrics.upstream_waiting.labels(name), lambda: upstream.waiting_calls)
        return upstream

    async def aclose(self) -> None:
        """Closes every connection."""
        await self.litellm.aclose()
        await self.tokens.aclose()
        if self.catalog is not None:
            await self.catalog.aclose()
        await self.database.aclose()


def _is_paused(breaker: Breaker) -> bool:
    return breaker.circuit is not Circuit.CLOSED
