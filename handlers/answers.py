"""What operations give: one struct for each schema of `openapi.yaml` with fields to choose, and named after it.

The contract says what they mean; `tests/contract/test_bodies.py` compares the two. An answer of one line is a
dictionary where it is given. A key has LiteLLM's own fields (`handlers/keys.py`), and the report of a cleanup is the
command line's too (`services/offboarding/report.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from msgspec import Struct, field


class Answer(Struct, kw_only=True, rename="camel"):
    """A body or a part of one. Its fields are in camelCase over HTTP, and UNSET is left out there."""

    @classmethod
    def of(cls, noun: object, **more: Any) -> Self:
        """The answer with `more`, and what `noun` has under the names of the other fields."""
        return cls(**more, **{name: getattr(noun, name) for name in cls.__struct_fields__ if name not in more})

    def __repr__(self) -> str:
        return type(self).__name__  # it may have a secret


class PendingRevocation(Answer):
    key_id: str
    revoke_at: str


class UserKey(Answer):
    user_id: str
    key_id: str
    secret: str = field(name="keySecret")
    expires_at: str | None
    max_budget: float | None
    models: Sequence[str]


class RegeneratedKey(Answer):
    user_id: str
    key_id: str
    secret: str = field(name="keySecret")
    revokes: PendingRevocation
    revoked_at_once: Sequence[str]
