"""What LiteLLM says no to: the values that a caller sent, what does not exist, this service's own key, or everything.

What stands before it, such as an ingress, has answers of its own with the same statuses; they are not LiteLLM's word.

Seen on LiteLLM 1.104.5 with `upperbound_key_generate_params`, `key_alias_pattern`, licensed features and without its
database; `tests/conformance` and `tests/live` check each. LiteLLM's own text can name other people's aliases and
addresses, so it goes to the log and never into a message.
"""

from __future__ import annotations

import re
from typing import Any

from clients.exchange import Reply
from domain.errors import ValuesRefusedError

_CAP = re.compile(r"(\w+) is over max limit set in config - .*max_value=([\w.+-]+)")
_CAPS = {
    "max_budget": "LiteLLM allows at most {} USD a key",
    "duration": "LiteLLM allows a key to live at most {}",
    "tpm_limit": "LiteLLM allows at most {} tokens per minute a key",
    "rpm_limit": "LiteLLM allows at most {} requests per minute a key",
}
_LICENCE = re.compile(r"Enterprise (?:users?|feature)")
_LICENSED = re.compile(r"only available for LiteLLM Enterprise users: ([\w, ]{1,80})")
_OUR_KEY = re.compile(r"proxy[ _]admin|Your role|API Key|not allowed to call this route", re.IGNORECASE)
# What LiteLLM raises itself stands in braces; what fails below it, such as its database, has this prefix.
_BROKEN = "Authentication Error"
_NO_DATABASE = "no_db_connection"
_NO_ROUTE = "Not Found"
_ALIAS = "key_alias"


def is_missing(reply: Reply) -> bool:
    """Whether LiteLLM says that it has no such user or key. FastAPI's 404 is for a route that is not there."""
    return reply.status == 404 and _error_of(reply).get("message") not in (None, _NO_ROUTE)


def is_litellms(reply: Reply) -> bool:
    """Whether a failure has any of LiteLLM's forms."""
    return bool(_error_of(reply))


def is_without_database(reply: Reply) -> bool:
    """Whether LiteLLM says that it cannot use its database. It says so with a 400, as if the values were at fault."""
    if reply.status != 400:
        return False
    error = _error_of(reply)
    return error.get("type") == _NO_DATABASE or str(error.get("message")).startswith(_BROKEN)


def refusal_in(reply: Reply) -> ValuesRefusedError | None:
    """The error of an answer to `/key/generate`, `/key/update`, `/user/new` or `/user/update` that refuses the values.

    None for everything else, which stays a fault of LiteLLM or of this service.
    """
    if reply.status not in (400, 403, 500) or is_without_database(reply):
        return None
    error = _error_of(reply)
    text = error.get("message")
    if not isinstance(text, str):
        return None
    recognised = _recognised(text)
    if recognised is None and (reply.status == 500 or _OUR_KEY.search(text)):
        return None
    return ValuesRefusedError(recognised, text, concerns_alias=_ALIAS in (error.get("param"), *text.split()))


def _recognised(text: str) -> str | None:
    if cap := _CAP.search(text):
        name, limit = cap.groups()
        return _CAPS.get(name, f"LiteLLM allows at most {{}} for {name}").format(limit.removesuffix(".0"))
    if _LICENCE.search(text):
        feature = _LICENSED.search(text)
        return f"LiteLLM needs a licence for {feature[1].strip() if feature else 'this'}"
    if "budget_duration" in text:
        return "LiteLLM does not accept this budgetDuration; use one such as 24h, 7d or 30d"
    if "Unsupported duration" in text:
        return "LiteLLM does not accept this duration"
    return None


def _error_of(reply: Reply) -> dict[str, Any]:
    """The error in any of LiteLLM's forms; empty in none of them."""
    body = reply.parsed()
    if not isinstance(body, dict):
        return {}
    error = body.get("error", body.get("detail"))
    if isinstance(error, dict):
        return {"message": error["error"]} if isinstance(error.get("error"), str) else error
    return {} if error is None else {"message": error}
