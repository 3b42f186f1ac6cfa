"""Third step: do what the plan says, one user at a time, so that the next run repairs a crash between any two steps.

Before a key is blocked it is noted that we block it; before that note is taken back it is unblocked. Each user is read
back before anything is reported of them. One user's failure does not save the others; the next run tries it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from clients.litellm.client import LiteLLM
from clients.litellm.rows import Key
from domain.errors import NotFoundError, OrchestratorError, UpstreamFaultError
from services.access import Principal
from services.changes import audit as recorded
from services.changes.audit import Attempt, Audit, Outcome
from services.offboarding.plan import Action, Entry, Plan
from state.lease import Held, Lease
from state.offboardings import Offboarding, Offboardings
from state.revocations import ReportedKeys

_RECORDED = {
    Action.BLOCK: recorded.Action.USER_BLOCK,
    Action.HOLD: recorded.Action.USER_BLOCK,
    Action.DELETE: recorded.Action.USER_DELETE,
    Action.RESTORE: recorded.Action.USER_RESTORE,
}


@dataclass
class Done:
    """What came of a plan: users by action, keys, and who failed with what error."""

    users: dict[Action, list[str]] = field(default_factory=lambda: {action: [] for action in Action})
    keys: dict[Action, int] = field(default_factory=lambda: dict.fromkeys(Action, 0))
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Steps:
    """What applying a plan needs."""

    litellm: LiteLLM
    offboardings: Offboardings
    lease: Lease
    reported: ReportedKeys
    audit: Audit

    def held_by(self, held: Held, principal: Principal, *, confirmed: bool) -> Applying:
        """The application of one plan, on behalf of `principal`."""
        return Applying(self, held, principal, confirmed=confirmed)


class Applying:
    """One application of one plan by the holder of the lease. Raises LeaseLostError where it is lost."""

    def __init__(self, steps: Steps, held: Held, principal: Principal, *, confirmed: bool) -> None:
        self._litellm = steps.litellm
        self._offboardings = steps.offboardings
        self._lease = steps.lease
        self._reported = steps.reported
        self._audit = steps.audit
        self._held = held
        self._principal = principal
        self._confirmed = confirmed
        self.done = Done()

    async def run(
        self, plan: Plan, known: Mapping[str, Offboarding], progress: Callable[[int, int], None] = lambda *_: None
    ) -> Done:
        """Apply `plan`; `progress` is told how many of how many users are done."""
        for number, entry in enumerate(plan.entries, start=1):
            await self._still_ours()
            try:
                self.done.keys[entry.action] += await self._apply(entry, known.get(entry.user_id))
                self.done.users[entry.action].append(entry.user_id)
            except OrchestratorError as error:
                self.done.failed[entry.user_id] = error.message
            progress(number, len(plan.entries))
        return self.done

    async def _apply(self, entry: Entry, offboarding: Offboarding | None) -> int:
        steps = {
            Action.BLOCK: self._block,
            Action.HOLD: self._block,
            Action.DELETE: self._delete,
            Action.RESTORE: self._restore,
        }
        async with self._audit.attempt(self._principal, _RECORDED[entry.action], entry.user_id) as attempt:
            keys = await steps[entry.action](entry, offboarding, attempt)
            if attempt.is_open:
                await attempt.conclude(Outcome.DONE, after={"keys": keys})
            return keys

    async def _block(self, entry: Entry, offboarding: Offboarding | None, attempt: Attempt) -> int:
        live = _live(await self._litellm.list_keys(entry.user_id))
        if live or offboarding is None:
            await attempt.begin()
        if offboarding is None:
            offboarding = await self._offboardings.begin(self._held, entry.user_id, confirmed=self._confirmed)
        ours = list(offboarding.blocked_keys)
        for key_id in live:
            await self._still_ours()
            ours += [key_id] if key_id not in ours else []
            await self._offboardings.set_blocked_keys(self._held, entry.user_id, ours)
            await self._set_blocked(key_id, blocked=True)
        if live and _live(await self._litellm.list_keys(entry.user_id)):
            raise UpstreamFaultError("LiteLLM still has a live key of theirs after blocking them all")
        return len(live)

    async def _restore(self, entry: Entry, offboarding: Offboarding | None, attempt: Attempt) -> int:
        await attempt.begin()
        ours = list(offboarding.blocked_keys) if offboarding else []
        reported = await self._reported.among(ours)
        restored = len(set(ours) - reported)
        while ours:
            await self._still_ours()
            if ours[0] not in reported:
                await self._set_blocked(ours[0], blocked=False)
            ours.pop(0)
            await self._offboardings.set_blocked_keys(self._held, entry.user_id, ours)
        await self._offboardings.end(self._held, entry.user_id)
        return restored

    async def _delete(self, entry: Entry, _: Offboarding | None, attempt: Attempt) -> int:
        await attempt.begin()
        keys = await self._litellm.list_keys(entry.user_id)
        await self._still_ours()
        try:
            await self._litellm.delete_user(entry.user_id)
        except NotFoundError:
            keys = []
        if await self._litellm.user_exists(entry.user_id):
            raise UpstreamFaultError("LiteLLM still has the user after deleting them")
        await self._offboardings.end(self._held, entry.user_id)
        return len(keys)

    async def _still_ours(self) -> None:
        await self._lease.renew(self._held)

    async def _set_blocked(self, key_id: str, *, blocked: bool) -> None:
        try:
            await self._litellm.set_key_blocked(key_id, blocked=blocked)
        except NotFoundError:
            return  # deleted by somebody meanwhile, which is as dead as can be


def _live(keys: list[Key]) -> list[str]:
    return [key.key_id for key in keys if not key.is_blocked]
