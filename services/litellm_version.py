"""The versions of LiteLLM that were tried. They decide about warnings only, and never about what the service does."""

from __future__ import annotations

import re

import structlog

from clients.litellm.client import LiteLLM
from services.repetition import Sleep, until_answered

log = structlog.get_logger(__name__)

OLDEST_LITELLM, NEWEST_LITELLM = (1, 90), (1, 109)
"""What `make matrix` tries; `docs/compatibility.md` has the results."""

_MAJOR_MINOR = re.compile(r"(\d{1,6})\.(\d{1,6})\.")


def advice_about(version: str) -> str | None:
    """What to do about this version of LiteLLM, or None if it is within the range that was tried."""
    numbers = _MAJOR_MINOR.match(version)
    if numbers and OLDEST_LITELLM <= (int(numbers[1]), int(numbers[2])) <= NEWEST_LITELLM:
        return None
    oldest, newest = (".".join(map(str, tried)) for tried in (OLDEST_LITELLM, NEWEST_LITELLM))
    return (
        f"This service was tried with LiteLLM {oldest} to {newest} (docs/compatibility.md): "
        "try yours with `make live LITELLM_VERSION=…` before you rely on it."
    )


async def log_version(litellm: LiteLLM, sleep: Sleep) -> None:
    """Logs LiteLLM's version once LiteLLM tells it, as a warning if it was not tried."""
    version = await until_answered(litellm.version, sleep)
    advice = advice_about(version)
    if advice is None:
        log.info("LiteLLM", version=version)
    else:
        log.warning("LiteLLM", version=version, advice=advice)
