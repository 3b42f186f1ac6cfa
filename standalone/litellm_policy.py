"""What an operator of LiteLLM configures, as far as it changes the answers to this service (LiteLLM 1.104)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from standalone.litellm_usage import Row

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class RefusedError(Exception):
    """LiteLLM refuses values, or a call. `kind` and `param` stand beside its message."""

    headers: Mapping[str, str] = {}

    def __init__(self, status: int, message: str, kind: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: Row = {"error": {"message": message, "type": kind, "param": param, "code": str(status)}}


@dataclass
class Policy:
    """`upperbound_key_generate_params`, `default_internal_user_params`, `key_alias_pattern`; what needs a licence."""

    upper_bounds: Mapping[str, Any] = field(default_factory=dict)
    user_defaults: Mapping[str, Any] = field(default_factory=dict)
    alias_pattern: str | None = None
    licensed: frozenset[str] = frozenset()

    def complete_user(self, asked: Row) -> Row:
        """The properties of a new user: null is as good as absent."""
        return asked | {name: value for name, value in self.user_defaults.items() if asked.get(name) in (None, [])}

    def complete_key(self, asked: Row) -> Row:
        """The properties of a new key. Raises RefusedError."""
        self._check(asked, "internal_server_error", None)
        alias = asked.get("key_alias")
        if alias and self.alias_pattern and not re.match(self.alias_pattern, alias):
            text = f"Must be at most 255 characters and match the configured key_alias_pattern: {self.alias_pattern}"
            raise RefusedError(400, f"Invalid key_alias format. {text}", "bad_request_error", "key_alias")
        return asked | {name: limit for name, limit in self.upper_bounds.items() if asked.get(name) is None}

    def check_change(self, asked: Row) -> None:
        """Raises RefusedError. LiteLLM says `auth_error` here, whatever it was."""
        self._check(asked, "auth_error", "None")

    def _check(self, asked: Row, kind: str, param: str | None) -> None:
        for name, limit in self.upper_bounds.items():
            if asked.get(name) is not None and _number(asked[name]) > _number(limit):
                text = f"{name} is over max limit set in config - user_value={asked[name]}; max_value={limit}"
                raise RefusedError(400, f"{{'error': '{text}'}}", kind, param)
        if needed := self.licensed & asked.keys():
            text = f"This feature is only available for LiteLLM Enterprise users: {', '.join(sorted(needed))}."
            raise RefusedError(403, f"{{'error': '{text} You must be a LiteLLM Enterprise user'}}", kind, param)


def _number(value: Any) -> float:
    match = re.fullmatch(r"(\d+)([smhdw])", value) if isinstance(value, str) else None
    return int(match[1]) * _UNITS[match[2]] if match else float(value)
