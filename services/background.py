"""What every replica does in the background: what is due, and the deletion of old rows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

from domain.due import Kind, Task
from domain.errors import OrchestratorError
from services.changes.reconciliation import Reconciliation
from services.repetition import Job
from state.code_guesses import CodeGuesses
from state.device_codes import DeviceCodes
from state.due import DueQueue
from state.events import FORGOTTEN_AT_ONCE, Events
from state.kept_answers import KeptAnswers
from state.rates import Rates
from state.sessions import Sessions

log = structlog.get_logger(__name__)

Handler = Callable[[Task], Awaitable[None]]
_RUN_SECONDS = 10.0
"""For each part of a run: a part that has more to do does not keep the next run of the others waiting."""


@dataclass(frozen=True, kw_only=True)
class DueWork:
    """Does what is due. A handler removes the task that it has done, or raises. `now` is a clock in seconds."""

    queue: DueQueue
    handlers: Mapping[Kind, Handler]
    now: Callable[[], float]

    async def run(self, kind: Kind) -> None:
        """Does all due tasks of one kind, one after the other, for ten seconds. What fails is tried again later."""
        until = self.now() + _RUN_SECONDS
        while (task := await self.queue.claim(kind)) is not None:
            try:
                await self.handlers[kind](task)
            except OrchestratorError as error:
                log.warning(
                    "not done yet", kind=kind, subject=task.subject, attempts=task.attempts, error=error.message
                )
                await self.queue.postpone(task)
            except Exception:  # a fault of ours with one task must not stop the others
                log.exception("not done yet", kind=kind, subject=task.subject, attempts=task.attempts)
                await self.queue.postpone(task)
            if self.now() >= until:
                return


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Deletes rows whose time is over. Changes are kept for `seconds`; `now` is a clock in seconds."""

    events: Events
    kept_answers: KeptAnswers
    rates: Rates
    device_codes: DeviceCodes
    code_guesses: CodeGuesses
    sessions: Sessions
    seconds: float
    now: Callable[[], float]

    async def forget_changes(self) -> None:
        """Deletes all that are too old, however many there are, as far as ten seconds suffice."""
        until = self.now() + _RUN_SECONDS
        while await self.events.forget(older_than=self.seconds) == FORGOTTEN_AT_ONCE and self.now() < until:
            pass


@dataclass(frozen=True, kw_only=True)
class BackgroundJobs:
    """The jobs. Several replicas can run each at the same time."""

    due: DueWork
    reconciliation: Reconciliation
    retention: Retention

    async def run(self) -> None:
        """Runs each job once, and the kinds of due work side by side: a slow one does not hold up another.

        Reconciliation comes first: others wait for what it repairs, and would take the locks that it needs.
        """
        await _guarded(self.reconciliation.find)
        await _guarded(self.due.run, Kind.RECONCILIATION)
        # A group waits for its tasks when it is cancelled: none goes on after the database has been closed.
        async with asyncio.TaskGroup() as side_by_side:
            for kind in self.due.handlers:
                if kind is not Kind.RECONCILIATION:
                    side_by_side.create_task(_guarded(self.due.run, kind))
            for forget in (
                self.retention.forget_changes,
                self.retention.kept_answers.forget,
                self.retention.rates.forget,
                self.retention.device_codes.forget,
                self.retention.code_guesses.forget,
                self.retention.sessions.forget,
            ):
                side_by_side.create_task(_guarded(forget))

    def job(self, interval: float) -> Job:
        """Runs the jobs every `interval` seconds."""
        return Job("background jobs", self.run, interval, first=interval)


async def _guarded(job: Callable[..., Awaitable[None]], *arguments: Kind) -> None:
    try:
        await job(*arguments)
    except Exception:  # an unavailable database must not end the jobs
        log.exception("background job failed", job=job.__qualname__)
