"""Off-boarding one user now, on an admin's request: the steps of the cleanup, under the same lease."""

from __future__ import annotations

import asyncio

import structlog

from clients.litellm.client import LiteLLM, no_such_user
from domain.actions import Action
from domain.errors import BusyError, OrchestratorError
from domain.identity import Principal
from domain.offboarding import Offboarding, PlanEntry, Step
from domain.resource_versions import require_version
from services.changes.changes import Changes
from services.offboarding.execution import PlanExecution
from services.users.users import Users
from state.lease import HeldLease, Lease, LeaseLostError
from state.offboardings import Offboardings

log = structlog.get_logger(__name__)


class OffboardUser:
    """Off-boards users."""

    def __init__(
        self,
        *,
        changes: Changes,
        execution: PlanExecution,
        lease: Lease,
        offboardings: Offboardings,
        litellm: LiteLLM,
        users: Users,
    ) -> None:
        self._changes = changes
        self._execution = execution
        self._lease = lease
        self._offboardings = offboardings
        self._litellm = litellm
        self._users = users
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, principal: Principal, user_id: str, expected: frozenset[str] | None) -> int:
        """Blocks the user's keys, then deletes user and keys, also if blocking failed. Returns how many keys that were.

        The user must have one of the `expected` versions before the first step; None means any. Raises NotAllowedError,
        NotFoundError, PreconditionFailedError, BusyError while a cleanup is in progress, RateLimitedError if there
        were too many of those, UpstreamError: then the next cleanup repairs what was done.
        """
        async with self._changes.checking(principal, Action.USER_DELETE, user_id):
            await self._require(user_id, expected)
        async with self._one_at_a_time:
            held = await self._acquire(principal, user_id)
            try:
                return await self._offboard(held, principal, user_id)
            except LeaseLostError as error:
                raise BusyError("A cleanup began meanwhile; retry when it has ended") from error
            finally:
                self._users.forget(user_id)
                await asyncio.shield(self._release(held))

    async def _require(self, user_id: str, expected: frozenset[str] | None) -> None:
        if not await self._users.exists(user_id):
            raise no_such_user(user_id)
        # Only then: a user whose row cannot be read in full can be off-boarded all the same.
        if expected is not None and (user := await self._litellm.read_user(user_id)):
            require_version(user.version, expected, "user")

    async def _acquire(self, principal: Principal, user_id: str) -> HeldLease:
        async with self._changes.checking(principal, Action.USER_DELETE, user_id):
            return await self._lease.acquire()

    async def _offboard(self, held: HeldLease, principal: Principal, user_id: str) -> int:
        offboarding = (await self._offboardings.all()).get(user_id)
        try:
            await self._step(held, principal, user_id, Step.BLOCK, offboarding)
        except OrchestratorError as error:
            # Deleting takes away the keys that cannot be blocked, too.
            log.warning("the user's keys could not all be blocked before the deletion", error=error.message)
        return await self._step(held, principal, user_id, Step.DELETE)

    async def _step(
        self, held: HeldLease, principal: Principal, user_id: str, step: Step, offboarding: Offboarding | None = None
    ) -> int:
        entry = PlanEntry(user_id, step)
        return await self._execution.execute(entry, offboarding, held, principal, confirmed_by=principal.subject)

    async def _release(self, held: HeldLease) -> None:
        try:
            await self._lease.release(held, next_run_in=None)
        except LeaseLostError:
            return  # its new holder releases it
