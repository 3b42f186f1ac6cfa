"""What every replica does by itself, again and again: replaced keys end, what was cut short is put in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from services.keys.reconciliation import Reconciliation
from services.keys.rotate import Rotation
from services.offboarding.schedule import jittered
from state.changes import AuditLog
from state.rates import Rates

log = structlog.get_logger(__name__)


class Maintenance:
    """The chores. Each is safe to be done by several replicas at once. `retention` is in seconds."""

    def __init__(
        self, rotation: Rotation, reconciliation: Reconciliation, audit_log: AuditLog, rates: Rates, *, retention: float
    ) -> None:
        async def forget_events() -> None:
            await audit_log.forget(older_than=retention)

        self._chores: Sequence[Callable[[], Awaitable[None]]] = (
            rotation.revoke_due,
            reconciliation.run,
            forget_events,
            rates.forget,
        )

    async def run(self) -> None:
        """Each chore once; one that fails does not keep the others from being done."""
        for chore in self._chores:
            try:
                await chore()
            except Exception:  # a database out of reach must not end the clockwork
                log.exception("maintenance failed")

    async def run_forever(self, interval: float, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Every `interval` seconds, give or take a tenth."""
        while True:
            await sleep(jittered(interval))
            await self.run()
