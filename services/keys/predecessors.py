"""What becomes of a key in its overlap when the key that replaced it is deleted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.keys import Replaced
from services.keys.issuer import KeyIssuer
from state.revocations import Revocations


@dataclass(frozen=True, kw_only=True)
class Predecessors:
    """The keys that a deleted key had replaced. For a change that holds the user's lock."""

    revocations: Revocations
    issuer: KeyIssuer

    async def in_overlap(self, user_id: str, key_id: str, *, at: float) -> list[str]:
        """The keys that `key_id` replaced and whose overlap was not over `at` that time (seconds since the epoch)."""
        pending = await self.revocations.of_user(user_id)
        return [row.key_id for row in pending if row.replaced_by == key_id and row.revoke_at > at]

    async def settle(self, key_ids: Collection[str], replaced: Replaced) -> None:
        """Deletes them unless they are to be kept. Raises UpstreamError."""
        if replaced is Replaced.DELETE:
            for key_id in key_ids:
                await self.issuer.delete(key_id)

    async def release(self, connection: AsyncConnection, key_ids: Collection[str]) -> None:
        """Removes their revocations, in the caller's transaction: they are gone, or stay."""
        for key_id in key_ids:
            await self.revocations.remove(connection, key_id)


def outcome(key_ids: Sequence[str], replaced: Replaced) -> dict[str, Any]:
    """What the audit log says about them."""
    return {"deleted" if replaced is Replaced.DELETE else "kept": list(key_ids)} if key_ids else {}
