"""What a run leaves as it is, and an admin should look at."""

from __future__ import annotations

from domain.offboarding import CleanupFinding
from domain.refs import canonical
from state.directory import Directory

_MOST = 100


async def misspelt_ids(directory: Directory) -> tuple[CleanupFinding, ...]:
    """The first hundred of LiteLLM's users whose id is not in lower case: no request can name them."""
    ids = await directory.misspelt(_MOST)
    served = await directory.among([canonical(user_id) for user_id in ids])
    return tuple(_finding(user_id, is_served=canonical(user_id) in served) for user_id in ids)


def _finding(user_id: str, *, is_served: bool) -> CleanupFinding:
    served = canonical(user_id)
    if is_served:
        return CleanupFinding(
            "twoSpellings",
            user_id,
            f"LiteLLM also has {served}, which is the one that is served; delete this one there",
        )
    return CleanupFinding(
        "spelling", user_id, f"Its id is not in lower case, so it cannot be opened; rename it to {served} in LiteLLM"
    )
