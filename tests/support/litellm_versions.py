"""What the tried versions of LiteLLM do differently, for tests. The service itself never decides by a version."""

from __future__ import annotations

import httpx

Version = tuple[int, int]

BUDGET_DURATIONS = (1, 104)
"""From here on, LiteLLM refuses bad budget durations with 400, and null clears a good one."""

KEY_FIELDS = (1, 104)
"""From here on, keys have `MORE_KEY_FIELDS`."""
MORE_KEY_FIELDS = {"budget_fallbacks", "key_type", "settings_updated_at", "total_spend", "tpd_limit"}

OVER_BUDGET = (1, 104)
"""From here on, a key over its budget gets 422 instead of 429."""

CACHE_TIME = (1, 104)
"""From here on, `user_api_key_cache_ttl` says how long a process remembers a key. Before, it is always 60 s."""
FIXED_CACHE_SECONDS = 60

REFUSED_CALLS = (1, 104)
"""Where the words for a refused call were read; how old they are was not looked up."""

REFUSED_BEFORE_BODY = (1, 109)
"""From here on, a process that has the key in its cache refuses a key over its rate before it reads the body.

Such a refusal has OpenAI's shape in each API (`_reject_from_headers_before_reading_body`, 1.109.3).
"""

USER_RATES = (1, 108)
"""From here on, null clears the rates of a user, and `GET /v2/user/info` has them."""

UNATTRIBUTED = (1, 109)
"""From here on, usage has words for what has no model or no key: `UNATTRIBUTED_WORDS`, groups before keys."""
UNATTRIBUTED_WORDS = ("unknown-model-group", "unattributed")


async def version_of(litellm: httpx.AsyncClient) -> Version:
    """Major and minor version. `litellm` sends the master key."""
    return version_from((await litellm.get("/health/readiness/details")).json()["litellm_version"])


def version_from(text: str) -> Version:
    """Major and minor version of a text such as 1.104.5."""
    major, minor, *_ = text.split(".")
    return int(major), int(minor)
