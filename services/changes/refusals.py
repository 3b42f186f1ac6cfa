"""What is refused before a change begins: recorded, counted, and no way to fill the audit log."""

from __future__ import annotations

from dataclasses import dataclass

from domain.actions import Ending, Intent
from domain.errors import RateLimitedError
from domain.redaction import Redaction
from state.changes import ChangeTable
from state.database import Database
from state.rates import RatePolicy, Rates
from state.repetitions import Repetitions
from telemetry.metrics import Metrics

_REPETITION_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Refusals:
    """Records refusals; those of one actor count against `rate`."""

    database: Database
    changes: ChangeTable
    repetitions: Repetitions
    rates: Rates
    rate: RatePolicy
    metrics: Metrics
    redaction: Redaction

    async def record(self, intent: Intent, ending: Ending) -> None:
        """Records that the change was refused. The same again within an hour is counted beside the first.

        Raises RateLimitedError above the rate: then it is counted if it is such a repetition, and not recorded.
        """
        intent, ending = intent.masked(self.redaction), ending.masked(self.redaction)
        async with self.database.transaction() as connection:
            rate = await self.rates.take(connection, self.rate, intent.actor)
            is_repetition = await self.repetitions.count(connection, intent, ending, within=_REPETITION_SECONDS)
            if not is_repetition and not rate.retry_after:
                await self.changes.insert_ended(connection, intent, ending)
        if rate.retry_after:
            self.metrics.rate_limited.labels(self.rate.name).inc()
            raise RateLimitedError(rate)
        self.metrics.changes.labels(intent.action, ending.outcome).inc()
