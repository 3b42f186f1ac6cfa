"""The catalog's last answers, remembered for a short while, and for longer while it does not answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cachetools import LRUCache

from clients.backstage.catalog import GroupMissingError
from domain.errors import UpstreamError
from services.single_flight import SingleFlight

_MAX_ANSWERS = 10_000
_RETRY_SECONDS = 10.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What the catalog said. If that was longer ago than usual, `failure` is why it could not be asked again."""

    value: T
    failure: UpstreamError | None = None


@dataclass(slots=True)
class _Known(Generic[T]):
    value: T
    read_at: float
    failure: UpstreamError | None = None
    failed_at: float = 0.0


class Answers(Generic[T]):
    """Answers of `ask`, one for each key, with one question at a time. `now` is a monotonic clock in seconds.

    An answer counts for `seconds`. If the catalog fails then, it counts until it is `stale_seconds` old, and the
    catalog is asked again every ten seconds.
    """

    def __init__(
        self,
        ask: Callable[[str], Coroutine[Any, Any, T]],
        *,
        seconds: float,
        stale_seconds: float,
        now: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._stale_seconds = stale_seconds
        self._now = now
        self._known: LRUCache[str, _Known[T]] = LRUCache(_MAX_ANSWERS)
        self._questions: SingleFlight[T] = SingleFlight()

    async def get(self, key: str) -> Answer[T]:
        """The answer for `key`. Raises UpstreamError if there is none that counts; GroupMissingError is an answer."""
        known = self._known.get(key)
        if known is not None and self._now() - known.read_at < self._seconds:
            return Answer(known.value)
        if known is not None and self._counts(known) and self._now() - known.failed_at < _RETRY_SECONDS:
            return Answer(known.value, known.failure)
        try:
            return Answer(await self._questions.run(key, lambda: self._read(key)))
        except GroupMissingError:
            raise
        except UpstreamError as error:
            if known is None or not self._counts(known):
                raise
            known.failure, known.failed_at = error, self._now()
            return Answer(known.value, error)

    async def _read(self, key: str) -> T:
        value = await self._ask(key)
        self._known[key] = _Known(value, self._now())
        return value

    def _counts(self, known: _Known[T]) -> bool:
        return self._now() - known.read_at < self._stale_seconds
