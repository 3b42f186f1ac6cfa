"""A circuit breaker: while an upstream keeps failing, calls to it fail at once instead of one deadline later."""

from __future__ import annotations

import math
from collections.abc import Callable

import structlog

from domain.circuits import Circuit
from domain.errors import CircuitOpenError
from settings.model import CircuitSettings

log = structlog.get_logger(__name__)


class Breaker:
    """The breaker for the upstream `name`. `now` is a monotonic clock in seconds.

    It opens after a number of failures without a success in between. After a pause, the next call goes through: its
    success closes the circuit, its failure begins another pause.
    """

    def __init__(self, name: str, settings: CircuitSettings, now: Callable[[], float]) -> None:
        self._name = name
        self._settings = settings
        self._now = now
        self._failures = 0
        self._opened_at: float | None = None
        self._is_probing = False
        # A call that began before the circuit opened or closed says nothing about the time after.
        self._generation = 0

    @property
    def circuit(self) -> Circuit:
        """The state of the circuit now."""
        if self._opened_at is None:
            return Circuit.CLOSED
        return Circuit.OPEN if self._remaining(self._opened_at) > 0 else Circuit.HALF_OPEN

    def admit(self) -> int:
        """Admits a call, whose end must be recorded under the number returned. Raises CircuitOpenError."""
        if self._opened_at is not None:
            remaining = self._remaining(self._opened_at)
            if remaining > 0 or self._is_probing:
                raise CircuitOpenError(self._name, max(1, math.ceil(remaining)))
            self._is_probing = True
        return self._generation

    def record(self, generation: int, *, failed: bool | None) -> None:
        """Records the end of a call. `failed` is None if the call was not made after all."""
        if generation != self._generation:
            return
        self._is_probing = False
        if failed is None:
            return
        self._failures = self._failures + 1 if failed else 0
        is_open = self._opened_at is not None
        if failed and 0 < self._settings.failures <= self._failures:
            self._opened_at = self._now()
            self._generation += 1
            if not is_open:
                log.warning("circuit opened", upstream=self._name, failures=self._failures)
        elif is_open:
            self._opened_at = None
            self._generation += 1
            log.info("circuit closed", upstream=self._name)

    def _remaining(self, opened_at: float) -> float:
        return opened_at + self._settings.seconds - self._now()
