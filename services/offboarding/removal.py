"""One user off-boarded now, because an admin says so: by the same steps as the cleanup, under the same lease."""

from __future__ import annotations

import asyncio

from clients.litellm.client import no_such_user
from domain.errors import ConflictError, UpstreamFaultError
from services.access import Principal, authorize_admin
from services.changes.audit import Action
from services.offboarding.apply import Steps
from services.offboarding.plan import Action as Step
from services.offboarding.plan import Entry, Plan
from services.users.users import Users
from state.lease import Held, LeaseLostError


class Removal:
    """Removes users. `owner` names this replica."""

    def __init__(self, steps: Steps, users: Users, *, owner: str) -> None:
        self._steps = steps
        self._users = users
        self._owner = owner
        self._one_at_a_time = asyncio.Lock()

    async def remove(self, principal: Principal, user_id: str) -> int:
        """Block the user's keys, then delete user and keys; answers how many keys went.

        Raises NotAllowedError, NotFoundError, ConflictError while a cleanup is under way, UpstreamError: what was done
        by then is put in order by the next cleanup.
        """
        async with self._steps.audit.attempt(principal, Action.USER_DELETE, user_id):
            authorize_admin(principal)
            if not await self._users.exists(user_id):
                raise no_such_user(user_id)
        async with self._one_at_a_time:
            held = await self._steps.lease.acquire(self._owner, only_if_due=False)
            if held is None:
                raise ConflictError("A cleanup is under way; try again when it has ended")
            try:
                return await self._apply(held, principal, user_id)
            except LeaseLostError as error:
                raise ConflictError("A cleanup began meanwhile; try again when it has ended") from error
            finally:
                self._users.forget(user_id)
                await asyncio.shield(self._release(held))

    async def _apply(self, held: Held, principal: Principal, user_id: str) -> int:
        applying = self._steps.held_by(held, principal, confirmed=True)
        leaving = await self._steps.offboardings.all()
        keys = 0
        for step in (Step.BLOCK, Step.DELETE):
            done = await applying.run(Plan((Entry(user_id, step),), "", None), leaving)
            if user_id in done.failed:
                raise UpstreamFaultError(done.failed[user_id])
            keys = done.keys[step]
        return keys

    async def _release(self, held: Held) -> None:
        try:
            await self._steps.lease.release(held, next_run_in=None)
        except LeaseLostError:
            return  # whoever has it now gives it back
