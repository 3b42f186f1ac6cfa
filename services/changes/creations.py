"""What all creating has in common: a rate for each caller, and an Idempotency-Key by which nothing is made twice."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

import orjson

from domain.errors import (
    Allowance,
    CallerError,
    ConflictError,
    ReusedKeyError,
    TooManyRequestsError,
    UpstreamError,
    UpstreamTimeoutError,
)
from services.access import Principal
from services.changes.sealing import Sealing
from state.kept_answers import IdempotentRequest, IdempotentRequests
from state.rates import Rates

_WINDOW = 60
# After that another attempt may take over. It does no harm while the first still runs: only one of them can keep its
# answer, and what the other made is deleted.
_RUNNING_SECONDS = 30.0
_KEPT_SECONDS = 86400.0

T = TypeVar("T")


@dataclass(frozen=True)
class Created(Generic[T]):
    """What was made, now or by an earlier request of the same Idempotency-Key, and what is left of the rate."""

    made: T
    allowance: Allowance


class Creation:
    """One attempt to create something.

    `operation` names it. Where an earlier attempt of the same Idempotency-Key was cut short, `cut_short` is its name:
    what that one made was never handed out.
    """

    def __init__(self, operation: str, cut_short: str | None, keep: Callable[[str, Any], Awaitable[None]]) -> None:
        self.operation = operation
        self.cut_short = cut_short
        self._keep = keep

    async def keep(self, made_id: str, made: Any) -> None:
        """Keep what was made (a dataclass) for later requests of the same Idempotency-Key.

        Within the transaction that concludes the attempt: after it the answer is given, come what may. Raises
        UpstreamTimeoutError where another attempt has taken over meanwhile.
        """
        await self._keep(made_id, made)


Make = Callable[[Creation], Awaitable[T]]


class Creations:
    """The rate and the memory of idempotent requests."""

    def __init__(
        self,
        requests: IdempotentRequests,
        rates: Rates,
        sealing: Sealing,
        *,
        a_minute: int,
        new_id: Callable[[], str],
    ) -> None:
        self._requests = requests
        self._rates = rates
        self._sealing = sealing
        self._a_minute = a_minute
        self._new_id = new_id

    async def take(self, principal: Principal, name: str = "creates", *, cost: int = 1) -> Allowance:
        """One of the caller's rate; a cost of 0 only looks at it. Raises TooManyRequestsError."""
        allowance = await self._rates.take(name, principal.subject, limit=self._a_minute, window=_WINDOW, cost=cost)
        if allowance.retry_after:
            raise TooManyRequestsError(allowance)
        return allowance

    async def run(
        self,
        principal: Principal,
        key: str | None,
        asked: Any,
        *,
        make: Make[T],
        load: Callable[..., T],
        permit: Callable[[], Awaitable[None]],
    ) -> Created[T]:
        """What `make` makes, once for the caller's `key`; `load` builds it again from its fields.

        `asked` is all that the request says, as JSON. `make` checks the caller's authority by itself; `permit` does
        where nothing is made: who lost it is not shown the first answer again. Raises TooManyRequestsError,
        ConflictError while another request with `key` is under way, ReusedKeyError where it asked for something else,
        and what `make` and `permit` raise.
        """
        operation = self._new_id()
        if key is None:
            allowance = await self.take(principal)
            return Created(await make(Creation(operation, None, _forget)), allowance)
        claimed = await self._requests.claim(
            self._sealing.name(principal.subject, key),
            _fingerprint(asked),
            operation,
            running_for=_RUNNING_SECONDS,
            kept_for=_KEPT_SECONDS,
        )
        if not claimed.is_ours:
            await permit()
            made = load(**self._replayed(principal, key, asked, claimed))
            return Created(made, await self.take(principal, cost=0))
        return await self._make(principal, key, claimed, make)

    async def _make(self, principal: Principal, key: str, claimed: IdempotentRequest, make: Make[T]) -> Created[T]:
        async def keep(made_id: str, made: Any) -> None:
            sealed = self._sealing.seal(principal.subject, key, orjson.dumps(asdict(made)))
            if not await self._requests.finish(claimed, made_id, sealed):
                raise UpstreamTimeoutError("This took so long that another request with this Idempotency-Key took over")

        try:
            allowance = await self.take(principal)
            return Created(await make(Creation(claimed.operation, claimed.cut_short, keep)), allowance)
        except CallerError:
            await self._requests.release(claimed)
            raise
        except UpstreamError:
            await self._requests.abandon(claimed)
            raise

    def _replayed(self, principal: Principal, key: str, asked: Any, found: IdempotentRequest) -> dict[str, Any]:
        if found.fingerprint != _fingerprint(asked):
            raise ReusedKeyError("This Idempotency-Key was used with another request; choose a new one")
        if found.sealed_answer is None:
            raise ConflictError("A request with this Idempotency-Key is under way; try again when it has ended")
        answer = self._sealing.open(principal.subject, key, found.sealed_answer)
        if answer is None:
            raise ConflictError(f"This Idempotency-Key made {found.made}, whose secret cannot be shown again")
        return dict(orjson.loads(answer))


def _fingerprint(asked: Any) -> str:
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()


async def _forget(_made_id: str, _made: Any) -> None:
    """Nobody will ask for it again."""
