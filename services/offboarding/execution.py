"""Step 3: execute the plan, one user at a time, so that the next run repairs a crash between any two steps.

A key is recorded as blocked by us before it is blocked, and unblocked before that record is removed. The result of each
step is read back from LiteLLM. The failure of one user does not stop the others: the next run retries it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from clients.litellm.client import LiteLLM
from domain.audit import Action
from domain.errors import NotFoundError, OrchestratorError, UpstreamFaultError
from domain.identity import Principal
from domain.keys import Key
from domain.offboarding import ExecutionResult, Offboarding, Plan, PlanEntry, Step
from services.changes.change import Change
from services.changes.changes import Changes
from state.directory import Directory
from state.lease import HeldLease, Lease
from state.offboardings import Offboardings
from state.revocations import ReportedKeys

_ACTION_OF = {
    Step.BLOCK: Action.USER_BLOCK,
    Step.HOLD: Action.USER_BLOCK,
    Step.DELETE: Action.USER_DELETE,
    Step.RESTORE: Action.USER_RESTORE,
}


@dataclass(frozen=True, kw_only=True)
class PlanExecution:
    """Executes plans for the holder of the lease."""

    changes: Changes
    litellm: LiteLLM
    offboardings: Offboardings
    lease: Lease
    reported: ReportedKeys
    directory: Directory

    async def run(
        self,
        plan: Plan,
        offboardings: Mapping[str, Offboarding],
        *,
        held: HeldLease,
        principal: Principal,
        confirmed: bool,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> ExecutionResult:
        """Executes `plan` on behalf of `principal`. `confirmed`: an admin confirmed the removals.

        Calls `progress` with the number of finished users and the number of all. Raises LeaseLostError.
        """
        result = ExecutionResult()
        for number, entry in enumerate(plan.entries, start=1):
            try:
                keys = await self.execute(entry, offboardings.get(entry.user_id), held, principal, confirmed=confirmed)
            except OrchestratorError as error:
                result.failed[entry.user_id] = error.message
            else:
                result.keys[entry.step] += keys
                result.users[entry.step].append(entry.user_id)
            progress(number, len(plan.entries))
        return result

    async def execute(
        self,
        entry: PlanEntry,
        offboarding: Offboarding | None,
        held: HeldLease,
        principal: Principal,
        *,
        confirmed: bool,
    ) -> int:
        """Executes one step as a change. Returns the number of keys concerned. Raises LeaseLostError, UpstreamError."""
        await self.lease.renew(held)
        if entry.step is Step.HOLD and not await self._live_keys(entry.user_id):
            return 0  # nothing to change, and nothing to record at every run
        async with self.changes.begin(principal, _ACTION_OF[entry.step], entry.user_id) as change:
            match entry.step:
                case Step.BLOCK | Step.HOLD:
                    if offboarding is None:
                        offboarding = await self.offboardings.begin(held, entry.user_id, confirmed=confirmed)
                    return await self._block(change, offboarding, held)
                case Step.DELETE:
                    return await self._delete(change, entry.user_id, held)
                case Step.RESTORE:
                    return await self._restore(change, entry.user_id, offboarding, held)

    async def _block(self, change: Change, offboarding: Offboarding, held: HeldLease) -> int:
        live = await self._live_keys(offboarding.user_id)
        ours = list(offboarding.blocked_keys)
        for key_id in live:
            await self.lease.renew(held)
            ours += [key_id] if key_id not in ours else []
            await self.offboardings.set_blocked_keys(held, offboarding.user_id, ours)
            await self._set_blocked(key_id, blocked=True)
        if live and await self._live_keys(offboarding.user_id):
            raise UpstreamFaultError("LiteLLM still has an unblocked key of the user after blocking them all")
        await change.done(after={"keys": len(live)})
        return len(live)

    async def _delete(self, change: Change, user_id: str, held: HeldLease) -> int:
        keys: list[Key] = await self.litellm.list_keys(user_id)
        await self.lease.renew(held)
        try:
            await self.litellm.delete_user(user_id)
        except NotFoundError:
            keys = []
        if await self.litellm.user_exists(user_id):
            raise UpstreamFaultError("LiteLLM still has the user after deleting them")
        await self._end(change, user_id, held, keys=len(keys), is_gone=True)
        return len(keys)

    async def _restore(self, change: Change, user_id: str, offboarding: Offboarding | None, held: HeldLease) -> int:
        ours = list(offboarding.blocked_keys) if offboarding else []
        reported = await self.reported.among(ours)
        restored = len(set(ours) - reported)
        while ours:
            await self.lease.renew(held)
            if ours[0] not in reported:
                await self._set_blocked(ours[0], blocked=False)
            ours.pop(0)
            await self.offboardings.set_blocked_keys(held, user_id, ours)
        await self._end(change, user_id, held, keys=restored, is_gone=False)
        return restored

    async def _end(self, change: Change, user_id: str, held: HeldLease, *, keys: int, is_gone: bool) -> None:
        async with change.transaction() as connection:
            await self.offboardings.end(connection, held, user_id)
            if is_gone:
                await self.directory.remove(connection, [user_id])
            await change.done(after={"keys": keys}, connection=connection)

    async def _live_keys(self, user_id: str) -> list[str]:
        return [key.id for key in await self.litellm.list_keys(user_id) if not key.is_blocked]

    async def _set_blocked(self, key_id: str, *, blocked: bool) -> None:
        with suppress(NotFoundError):  # a key that was deleted meanwhile is as good as blocked
            await self.litellm.set_key_blocked(key_id, blocked=blocked)
