"""Takes the keys of a leaver away, and gives them back.

A key is recorded as blocked by us before it is blocked, and unblocked before that record is removed, so that the next
run repairs a crash between any two steps. The result is read back from LiteLLM once no short key is being made: an
exchange deletes its own when it finds that the owner leaves, unless it is interrupted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from clients.litellm.blocking import LiteLLMBlocking
from domain.errors import NotFoundError, UpstreamFaultError
from domain.keys import Block, Blocker, ListedKey, ListedKeys
from domain.offboarding import Offboarding
from services.changes.changes import Changes
from state.lease import HeldLease, Lease
from state.offboardings import Offboardings
from state.revocations import ReportedKeys

_SUBJECT = "cleanup"
_AT_ONCE = 10
"""Keys that are recorded and blocked together: on a busy database each write waits for its turn."""
STILL_MADE = "Short keys are still being made for the user"
_OURS = (None, Blocker.OFFBOARDING)
"""Whose block is taken away. A key without an annotation may be one that was made elsewhere."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """How many keys were blocked, and what is wrong with the others; None if there are none."""

    keys: int
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class KeyBlocking:
    """Blocks and unblocks keys, for the holder of the lease."""

    keys: LiteLLMBlocking
    offboardings: Offboardings
    reported: ReportedKeys
    lease: Lease
    changes: Changes

    async def look(self, held: HeldLease, offboarding: Offboarding) -> ListedKeys:
        """The keys of a user on hold. They have to be looked at again until `block` or `all_blocked` ends that."""
        await self.offboardings.begin_look(held, offboarding.user_id)
        return await self.keys.keys_of(offboarding.user_id)

    async def all_blocked(self, held: HeldLease, user_id: str, *, key_count: int | None) -> None:
        """Records that all keys were found blocked, and LiteLLM's number of them at the snapshot."""
        await self.offboardings.end_look(held, user_id, key_count=key_count)

    async def block(
        self, held: HeldLease, offboarding: Offboarding, found: ListedKeys | None, *, key_count: int | None
    ) -> Blocked:
        """Blocks the live keys, those `found` first. One that cannot be blocked stops no other."""
        user_id, ours = offboarding.user_id, list(offboarding.blocked_keys)
        late = (await self.keys.keys_of(user_id) if found is None else found).live
        tried = set[str]()
        while True:
            for start in range(0, len(late), _AT_ONCE):
                some = late[start : start + _AT_ONCE]
                await self.lease.renew(held)
                ours += [key.id for key in some if key.id not in ours]
                await self.offboardings.set_blocked_keys(held, user_id, ours)
                await self._block(some, offboarding.since)
            tried |= {key.id for key in late}
            has_ended = await self.changes.mints_ended(user_id)
            left = await self.keys.keys_of(user_id)
            if not (late := tuple(key for key in left.live if key.id not in tried)):
                break
        if (problem := problem_of(left) if has_ended else STILL_MADE) is None:
            await self.all_blocked(held, user_id, key_count=key_count)
        return Blocked(len(tried) - len(left.live), problem)

    async def _block(self, some: Sequence[ListedKey], since: float) -> None:
        """At once; raises once all have ended. A key that was deleted meanwhile is as good as blocked."""
        block = Block(_SUBJECT, Blocker.OFFBOARDING, since)
        for result in await asyncio.gather(*(self.keys.block(key, block) for key in some), return_exceptions=True):
            # Whether it was blocked is read back.
            if result is not None and not isinstance(result, NotFoundError | UpstreamFaultError):
                raise result

    async def restore(self, held: HeldLease, offboarding: Offboarding) -> int:
        """Unblocks exactly the keys that this service blocked. Returns their number.

        Those that were reported as leaked stay blocked, and those that an admin has blocked since.
        """
        user_id, ours = offboarding.user_id, list(offboarding.blocked_keys)
        found = {key.id: key for key in (await self.keys.keys_of(user_id)).keys}
        restored = 0
        while ours:
            await self.lease.renew(held)
            restored += await self._restore(found.get(ours[0]))
            ours.pop(0)
            await self.offboardings.set_blocked_keys(held, user_id, ours)
        return restored

    async def _restore(self, key: ListedKey | None) -> int:
        if key is None or key.blocker not in _OURS or await self.reported.among([key.id]):
            return 0
        with suppress(NotFoundError):  # deleted meanwhile
            await self.keys.unblock(key)
        # A report waits for nobody, and may have come after we looked.
        if await self.reported.among([key.id]):
            await self.keys.block(key, Block(_SUBJECT, Blocker.REPORT))
            return 0
        return 1


def untried(found: ListedKeys, offboarding: Offboarding) -> bool:
    """Whether a live key may still be blocked: a key with an odd name that was tried before will not be."""
    return any(key.token == key.id or key.id not in offboarding.blocked_keys for key in found.live)


def problem_of(found: ListedKeys) -> str | None:
    """What is wrong with the keys of a user who should have no live one; None if nothing is."""
    problems = {
        f"LiteLLM still has {len(found.live)} unblocked keys of the user": found.live,
        f"LiteLLM does not show {found.unreadable} keys of the user, so they could not be blocked": found.unreadable,
    }
    return "; ".join(text for text, is_one in problems.items() if is_one) or None
