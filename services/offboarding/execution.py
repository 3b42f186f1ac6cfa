"""Step 3: execute the plan, one user at a time, so that the next run repairs a crash between any two steps.

The failure of one user does not stop the others: the next run retries it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.actions import Action, Ending, Outcome
from domain.errors import OrchestratorError, UpstreamFaultError
from domain.identity import Principal
from domain.keys import ListedKeys
from domain.offboarding import ExecutionResult, Offboarding, PlanEntry, Step
from services.changes.change import Change
from services.changes.changes import OFFBOARDING_SECONDS, Changes
from services.offboarding.blocking import KeyBlocking, problem_of, untried
from services.offboarding.deletion import UserDeletion
from state.directory import Directory
from state.lease import HeldLease, Lease
from state.offboardings import Offboardings
from state.short_keys import ShortKeys

_ACTION_OF = {
    Step.BLOCK: Action.USER_BLOCK,
    Step.HOLD: Action.USER_BLOCK,
    Step.DELETE: Action.USER_DELETE,
    Step.RESTORE: Action.USER_RESTORE,
}
_CONFIRMABLE = (Step.BLOCK, Step.DELETE)
"""What an admin confirms: holding and restoring need nobody's word."""


class SignedInDevices(Protocol):
    """The signed-in devices of leavers (`services/tokens/session_ends.py`)."""

    async def mark_of_leaver(self, connection: AsyncConnection, owner: str) -> None:
        """Ends those that `owner` signed in, or that get keys of theirs, in the caller's transaction."""

    async def of_leaver(self, owner: str) -> None:
        """Deletes the keys of the ended ones. What fails is tried again later."""


@dataclass(frozen=True, kw_only=True)
class PlanExecution:
    """Executes the steps of plans for the holder of the lease."""

    changes: Changes
    blocking: KeyBlocking
    deletion: UserDeletion
    offboardings: Offboardings
    lease: Lease
    directory: Directory
    devices: SignedInDevices
    short_keys: ShortKeys

    async def run(
        self,
        entries: Sequence[PlanEntry],
        offboardings: Mapping[str, Offboarding],
        *,
        held: HeldLease,
        principal: Principal,
        confirmed_by: str | None,
        progress: Callable[[int, int], None],
    ) -> ExecutionResult:
        """Executes `entries` on behalf of `principal`. `confirmed_by` is who confirmed them, None for nobody.

        Calls `progress` with the number of finished users and the number of all. Raises LeaseLostError.
        """
        await self.deletion.forget()
        result = ExecutionResult()
        for number, entry in enumerate(entries, start=1):
            offboarding = offboardings.get(entry.user_id)
            try:
                keys = await self.execute(entry, offboarding, held, principal, confirmed_by=confirmed_by)
            except OrchestratorError as error:
                result.failed[entry.user_id] = error.message
            else:
                result.keys[entry.step] += keys
                result.users[entry.step].append(entry.user_id)
            progress(number, len(entries))
        return result

    async def execute(
        self,
        entry: PlanEntry,
        offboarding: Offboarding | None,
        held: HeldLease,
        principal: Principal,
        *,
        confirmed_by: str | None,
    ) -> int:
        """Executes one step as a change. Returns the number of keys concerned. Raises LeaseLostError, UpstreamError."""
        if entry.step is Step.HOLD and not entry.is_due:
            return 0  # people on hold cost nothing while nothing changes
        await self.lease.renew(held)
        found = None
        if entry.step is Step.HOLD and offboarding is not None:
            found = await self.blocking.look(held, offboarding)
            if not untried(found, offboarding):
                return await self._nothing_to_block(entry, found, held)
        confirmed_by = (confirmed_by if entry.step in _CONFIRMABLE else None) or entry.confirmed_by
        is_told = confirmed_by in (None, principal.subject)
        requested = None if is_told else {"confirmedBy": confirmed_by}
        action, seconds = _ACTION_OF[entry.step], None if entry.step is Step.RESTORE else OFFBOARDING_SECONDS
        ends_sessions = None
        if entry.step is not Step.RESTORE:
            ends_sessions = partial(self.devices.mark_of_leaver, owner=entry.user_id)
        async with self.changes.begin(
            principal, action, entry.user_id, requested=requested, takes_away_within=seconds, also=ends_sessions
        ) as change:
            if ends_sessions is not None:
                await self.devices.of_leaver(entry.user_id)
            match entry.step:
                case Step.BLOCK | Step.HOLD:
                    if offboarding is None:
                        offboarding = await self.offboardings.begin(held, entry.user_id, confirmed_by=confirmed_by)
                    return await self._block(change, entry, offboarding, held, found)
                case Step.DELETE:
                    keys = await self.deletion.delete(held, entry, is_confirmed=confirmed_by is not None)
                    await self._end(change, entry.user_id, held, keys=keys, is_gone=True)
                    return keys
                case Step.RESTORE:
                    keys = 0 if offboarding is None else await self.blocking.restore(held, offboarding)
                    await self._end(change, entry.user_id, held, keys=keys, is_gone=False)
                    return keys

    async def _nothing_to_block(self, entry: PlanEntry, found: ListedKeys, held: HeldLease) -> int:
        """Ends a look that changes nothing, so that nothing is recorded at every run."""
        if problem := problem_of(found):
            raise UpstreamFaultError(problem)
        await self.blocking.all_blocked(held, entry.user_id, key_count=entry.keys)
        return 0

    async def _block(
        self, change: Change, entry: PlanEntry, offboarding: Offboarding, held: HeldLease, found: ListedKeys | None
    ) -> int:
        blocked = await self.blocking.block(held, offboarding, found, key_count=entry.keys)
        after = {"keys": blocked.keys}
        if blocked.problem is not None:
            await change.end(Ending(Outcome.FAILED, after=after, detail=blocked.problem))
            raise UpstreamFaultError(blocked.problem)
        await change.done(after=after)
        return blocked.keys

    async def _end(self, change: Change, user_id: str, held: HeldLease, *, keys: int, is_gone: bool) -> None:
        async with change.transaction() as connection:
            await self.offboardings.end(connection, held, user_id)
            if is_gone:
                await self.directory.remove(connection, [user_id])
                await self.short_keys.remove_of(connection, user_id)
            await change.done(after={"keys": keys}, connection=connection)
