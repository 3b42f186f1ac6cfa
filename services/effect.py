"""How long a key that was ended may still work."""

from __future__ import annotations

from dataclasses import dataclass

from domain.keys import KeyChanges, RotatedKey, RotationRequest
from domain.offboarding import CleanupReport


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Within how many seconds every process of LiteLLM refuses a key that was blocked, deleted or revoked.

    The process that gets the request refuses it at once. The others cache a key for 60 s, or for LiteLLM's
    `general_settings.user_api_key_cache_ttl` (measured on 1.104.5 and 1.109.3 without Redis).
    """

    seconds: int

    def of_update(self, requested: KeyChanges) -> int | None:
        """None unless the update blocks the key."""
        return self.seconds if requested.get("blocked") else None

    def of_rotation(self, requested: RotationRequest, rotated: RotatedKey) -> int | None:
        """None if every key that the new one replaces works until the end of its overlap."""
        return self.seconds if not requested.get("overlap") or rotated.revoked_at_once else None

    def of_run(self, report: CleanupReport) -> int | None:
        """None for a dry run."""
        return None if report.dry_run else self.seconds
