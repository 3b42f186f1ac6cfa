"""Background jobs that every replica runs: revoke replaced keys, reconcile interrupted changes, delete old rows."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from services.keys.reconciliation import Reconciliation
from services.keys.revoke import RevokeKeys
from services.repetition import Job
from state.changes import ChangeTable
from state.kept_answers import KeptAnswers
from state.rates import Rates

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class BackgroundJobs:
    """The jobs. Several replicas can run each at the same time. `retention` of the audit log is in seconds."""

    revoke_keys: RevokeKeys
    reconciliation: Reconciliation
    changes: ChangeTable
    kept_answers: KeptAnswers
    rates: Rates
    retention: float

    async def run(self) -> None:
        """Runs each job once. A failure of one does not stop the others."""
        for job in (
            self.revoke_keys.revoke_due,
            self.reconciliation.run,
            self._forget_changes,
            self.kept_answers.forget,
            self.rates.forget,
        ):
            try:
                await job()
            except Exception:  # an unavailable database must not end the jobs
                log.exception("background job failed", job=job.__qualname__)

    def job(self, interval: float) -> Job:
        """Runs the jobs every `interval` seconds."""
        return Job("background jobs", self.run, interval, first=interval)

    async def _forget_changes(self) -> None:
        await self.changes.forget(older_than=self.retention)
