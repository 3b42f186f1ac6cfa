"""A running change, as the service that makes it sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.actions import Ending, Intent, Outcome
from domain.errors import UpstreamTimeoutError
from domain.identity import Scope
from domain.keys import Key, KeyVersion
from domain.rates import RateLimit
from domain.redaction import Redaction
from services.changes.sealing import SealedRequest
from state.changes import ChangeTable, Found, OpenChange, Opened

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Created(Generic[T]):
    """What a request created, now or when it was first sent, and what is left of the caller's rate limit."""

    resource: T
    rate: RateLimit | None


@dataclass(frozen=True, slots=True)
class Repaired:
    """What the repair of an interrupted change `found` or did.

    `target` is whom it concerned, and `key_version` which version of which key, if only now known.
    """

    found: Mapping[str, Any]
    target: str | None = None
    key_version: KeyVersion | None = None


class Change:
    """One change.

    `kept_answer` has the fields of the answer if the same request was answered before: then nothing may be changed.
    `interrupted` are earlier changes of the user that never ended. Set `before` and `key_version` once they are known:
    the audit log records them whatever the outcome. `refusal` is why LiteLLM refused it, for admins. `outcome` is None
    until it ended. What is recorded is masked, so that no secret that a caller misplaced is kept.
    """

    def __init__(
        self,
        opened: Opened,
        intent: Intent,
        scope: Scope,
        request: SealedRequest | None,
        *,
        table: ChangeTable,
        redaction: Redaction,
    ) -> None:
        self.scope = scope
        self.rate: RateLimit | None = opened.rate
        self.interrupted: Sequence[OpenChange] = opened.interrupted
        self.kept_answer: Mapping[str, Any] | None = None
        if request is not None and opened.kept_answer is not None:
            self.kept_answer = request.unseal(opened.kept_answer)
        self.before: Mapping[str, Any] | None = None
        self.key_version: KeyVersion | None = None
        self.refusal: Mapping[str, Any] | None = None
        self.outcome: Outcome | None = None
        self.intent = intent
        self._opened = opened
        self._request = request
        self._table = table
        self._redaction = redaction
        self._uncommitted: Outcome | None = None

    @property
    def operation(self) -> str:
        """The unique id of the change. Keys that it creates in LiteLLM carry it."""
        return self.intent.operation

    async def find(self, key: Key, before: Mapping[str, Any]) -> None:
        """Records which version a change by stable id is about, so that a repair knows it. Call it before any change.

        Raises UpstreamTimeoutError if another change took over meanwhile.
        """
        self.key_version, self.before = key.key_version, before
        found = Found(key.id, key.key_version.number, self._redaction.value(before))
        if not await self._table.find(self._opened.id, self._opened.holder, found):
            raise _taken_over()

    async def done(
        self,
        answer: Any = None,
        *,
        key_id: str | None = None,
        target: str | None = None,
        after: Mapping[str, Any] | None = None,
        connection: AsyncConnection | None = None,
    ) -> None:
        """Transaction 2: records success, and keeps `answer` (a dataclass) for repetitions of the request.

        With a `connection` of `transaction()` it is part of that transaction. Only give the answer to the caller after
        this: raises UpstreamTimeoutError if another change took over meanwhile.
        """
        ending = Ending(Outcome.DONE, key_id, target, before=self.before, after=after)
        await self.end(ending, answer, connection)

    async def reconciled(self, repaired: Repaired, connection: AsyncConnection) -> None:
        """Records that an interrupted change was repaired. Like `done` otherwise."""
        detail = "It was interrupted"
        self.key_version = repaired.key_version
        ending = Ending(Outcome.RECONCILED, target=repaired.target, after=repaired.found, detail=detail)
        await self.end(ending, connection=connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction for `done` and whatever must be written together with it."""
        async with self._table.transaction() as connection:
            yield connection
        self.outcome = self._uncommitted

    async def end(self, ending: Ending, answer: Any = None, connection: AsyncConnection | None = None) -> None:
        """Records how the change ended. Raises UpstreamTimeoutError if another change took over meanwhile."""
        if self.key_version is not None:
            version = self.key_version
            ending = replace(ending, key_stable_id=version.stable_id, key_version=version.number)
        self._uncommitted, kept = ending.outcome, None
        if self._request is not None and is_dataclass(answer) and not isinstance(answer, type):
            kept = (self._request, self._request.seal(asdict(answer), ending.key_id or self.intent.target or ""))
        async with self.transaction() if connection is None else nullcontext(connection) as writing:
            masked = ending.masked(self._redaction)
            if not await self._table.end(writing, self._opened.id, self._opened.holder, masked, kept):
                raise _taken_over()

    async def interrupt(self) -> None:
        """Leaves the change open: reconciliation will look at what LiteLLM has."""
        if self.outcome is None:
            await self._table.interrupt(self._opened.id, self._opened.holder)

    async def renew(self) -> bool:
        """Renews the lease. Returns False if it is lost."""
        return await self._table.renew(self._opened.id, self._opened.holder)


def _taken_over() -> UpstreamTimeoutError:
    return UpstreamTimeoutError("The operation timed out and was rolled back; retry")
