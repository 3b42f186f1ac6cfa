"""Third step: do what the plan says, one user at a time, so that the next run repairs a crash between any two steps.

Before a key is blocked it is noted that we block it; before that note is taken back it is unblocked. Each user is read
back before anything is reported of them. One user's failure does not save the others; the next run tries it again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from clients.lease import Held
from clients.litellm import LiteLLM
from clients.litellm_fields import Key
from clients.offboardings import Offboarding, Offboardings
from services.errors import NotFoundError, OrchestratorError, UpstreamFaultError
from services.offboarding.plan import Action, Entry, Plan


@dataclass
class Done:
    """What came of a plan: users by action, keys, and who failed with what error."""

    users: dict[Action, list[str]] = field(default_factory=lambda: {action: [] for action in Action})
    keys: dict[Action, int] = field(default_factory=lambda: dict.fromkeys(Action, 0))
    failed: dict[str, str] = field(default_factory=dict)


class Applying:
    """One application of one plan by the holder of the lease. Raises LeaseLostError where it is lost."""

    def __init__(
        self,
        litellm: LiteLLM,
        offboardings: Offboardings,
        held: Held,
        *,
        confirmed: bool,
        still_ours: Callable[[], Awaitable[None]],
    ) -> None:
        self._litellm = litellm
        self._offboardings = offboardings
        self._held = held
        self._confirmed = confirmed
        self._still_ours = still_ours
        self.done = Done()

    async def run(
        self, plan: Plan, known: Mapping[str, Offboarding], progress: Callable[[int, int], None] = lambda *_: None
    ) -> Done:
        """Apply `plan`; `progress` is told how many of how many users are done."""
        steps = {
            Action.BLOCK: self._block,
            Action.HOLD: self._block,
            Action.DELETE: self._delete,
            Action.RESTORE: self._restore,
        }
        for number, entry in enumerate(plan.entries, start=1):
            await self._still_ours()
            try:
                self.done.keys[entry.action] += await steps[entry.action](entry, known.get(entry.user_id))
                self.done.users[entry.action].append(entry.user_id)
            except OrchestratorError as error:
                self.done.failed[entry.user_id] = error.message
            progress(number, len(plan.entries))
        return self.done

    async def _block(self, entry: Entry, offboarding: Offboarding | None) -> int:
        live = _live(await self._litellm.list_keys(entry.user_id))
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

    async def _restore(self, entry: Entry, offboarding: Offboarding | None) -> int:
        ours = list(offboarding.blocked_keys) if offboarding else []
        restored = len(ours)
        while ours:
            await self._still_ours()
            await self._set_blocked(ours[0], blocked=False)
            ours.pop(0)
            await self._offboardings.set_blocked_keys(self._held, entry.user_id, ours)
        await self._offboardings.end(self._held, entry.user_id)
        return restored

    async def _delete(self, entry: Entry, _: Offboarding | None) -> int:
        keys = await self._litellm.list_keys(entry.user_id)
        await self._still_ours()
        try:
            await self._litellm.delete_user(entry.user_id)
        except NotFoundError:
            keys = []
        if await self._litellm.read_user(entry.user_id) is not None:
            raise UpstreamFaultError("LiteLLM still has the user after deleting them")
        await self._offboardings.end(self._held, entry.user_id)
        return len(keys)

    async def _set_blocked(self, key_id: str, *, blocked: bool) -> None:
        try:
            await self._litellm.set_key_blocked(key_id, blocked=blocked)
        except NotFoundError:
            return  # deleted by somebody meanwhile, which is as dead as can be


def _live(keys: list[Key]) -> list[str]:
    return [key["token"] for key in keys if not key.get("blocked")]
