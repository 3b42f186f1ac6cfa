"""LiteLLM's management API: every quirk of it stays in here, in `litellm_rows.py` and in `litellm_usage.py`.

Facts from https://docs.litellm.ai/docs/proxy/virtual_keys and from LiteLLM 1.104.5, each held by
`tests/conformance`. Ids are LiteLLM's `user_id` (here always a Backstage user ref in lower case) and `token`, the
SHA-256 of a key's secret. Amounts are USD.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from clients.litellm.rows import (
    ALL_MODELS,
    NO_RATE,
    NOTE,
    Key,
    KeyNote,
    User,
    is_key_id,
    key_from,
    nonsense,
    noted,
    user_from,
)
from clients.upstream import Reply, Upstream
from domain.errors import ConflictError, NotFoundError, UpstreamFaultError

_PAGE_SIZE = 100  # LiteLLM refuses more with 422
_MAX_PAGES = 1000


@dataclass(frozen=True)
class NewUser:
    """What a new user gets. None, and no `models`, is no limit; `tier` is noted on them."""

    max_budget: float | None = None
    budget_duration: str | None = None
    models: tuple[str, ...] = ()
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    tier: str | None = None
    display_name: str | None = None
    email: str | None = None


@dataclass(frozen=True)
class NewKey:
    """What a new key gets. None, and no `models`, is no limit of its own; `life` is in seconds."""

    note: KeyNote
    models: tuple[str, ...] = ()
    max_budget: float | None = None
    budget_duration: str | None = None
    life: int | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    spend: float = 0.0
    foreign_metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MintedKey:
    """A key just made: the only time that its secret is known."""

    user_id: str
    key_id: str
    secret: str = field(repr=False)


class LiteLLM:
    """The calls that this service makes, on one LiteLLM. All raise UpstreamError."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def aclose(self) -> None:
        """Close every connection."""
        await self._upstream.aclose()

    async def user_exists(self, user_id: str) -> bool:
        """`GET /v2/user/info`, the cheapest call that tells."""
        reply = await self._upstream.read("/v2/user/info", {"user_id": user_id})
        if reply.status == 404:
            return False
        if as_object(reply).get("user_id") != user_id:
            raise nonsense("a user")
        return True

    async def read_user(self, user_id: str) -> User | None:
        """`GET /user/list`: the user, or None. The calls for one user lack the rates, or come with all keys.

        One id matches within others, several match exactly: so it is given twice.
        """
        query = {"user_ids": f"{user_id},{user_id}", "page_size": _PAGE_SIZE}
        async for rows in self._pages("/user/list", "users", query):
            for row in rows:
                if isinstance(row, dict) and row.get("user_id") == user_id:
                    return user_from(row)
        return None

    async def create_user(self, user_id: str, new: NewUser) -> None:
        """`POST /user/new`, without the key that LiteLLM would mint along with it.

        Raises ConflictError where the user, or another one of that e-mail address, exists. Of several at once more
        than one may succeed: read back.
        """
        body = {"user_id": user_id, "user_role": "internal_user", "auto_create_key": False}
        limits = {
            "max_budget": new.max_budget,
            "budget_duration": new.budget_duration,
            "models": list(new.models) or None,
            "tpm_limit": new.tpm_limit,
            "rpm_limit": new.rpm_limit,
            "user_alias": new.display_name,
            "user_email": new.email,
            "metadata": {NOTE: {"tier": new.tier}} if new.tier is not None else None,
        }
        reply = await self._upstream.change("/user/new", body | _given(limits))
        if reply.status == 409:
            raise ConflictError(f"{user_id} exists already")
        as_object(reply)

    async def update_user(self, user_id: str, changes: Mapping[str, Any]) -> None:
        """`POST /user/update`, of `max_budget`, `budget_duration`, `spend`, `models`, `tpm_limit`, `rpm_limit`.

        None, and no `models`, clears. LiteLLM creates a user that it does not have: whether they exist is the caller's
        to check.
        """
        cleared = {"models": [ALL_MODELS], "tpm_limit": NO_RATE, "rpm_limit": NO_RATE}
        sent = {name: cleared.get(name) if value is None or value == [] else value for name, value in changes.items()}
        as_object(await self._upstream.change("/user/update", {"user_id": user_id, **sent}))

    async def create_key(self, user_id: str, new: NewKey) -> MintedKey:
        """`POST /key/generate`, for calls to models only (`key_type: llm_api`).

        LiteLLM mints a key for a user that does not exist as well: whether they do is the caller's to check. Its
        aliases are unique over all users: a key with an alias gets one there that nobody else would choose.
        """
        limits = {
            "key_alias": new.note.operation if new.note.alias else None,
            "models": list(new.models) or None,
            "max_budget": new.max_budget,
            "budget_duration": new.budget_duration,
            "duration": None if new.life is None else f"{new.life}s",
            "tpm_limit": new.tpm_limit,
            "rpm_limit": new.rpm_limit,
            "spend": new.spend or None,
        }
        body = {"user_id": user_id, "key_type": "llm_api", "metadata": noted(new.note, new.foreign_metadata)}
        row = as_object(await self._upstream.change("/key/generate", body | _given(limits)))
        key_id, secret = row.get("token"), row.get("key")
        if not (is_key_id(key_id) and isinstance(secret, str) and secret and row.get("user_id") == user_id):
            raise nonsense("a key")
        return MintedKey(user_id=user_id, key_id=str(key_id), secret=secret)

    async def list_keys(self, user_id: str) -> list[Key]:
        """`GET /key/list`: every key of exactly this user, newest first, each once."""
        return await self._listed(user_id, {})

    async def read_key(self, user_id: str, key_id: str) -> Key | None:
        """`GET /key/list`: this user's key of that id, or None where it is not theirs or not there (any more)."""
        keys = await self._listed(user_id, {"key_hash": key_id})
        return next((key for key in keys if key.key_id == key_id), None)

    async def update_key(self, key: Key, changes: Mapping[str, Any], note: KeyNote) -> None:
        """`POST /key/update` of `max_budget`, `budget_duration`, `models`, limits and `blocked`, and our note on it.

        None clears. Raises NotFoundError. Metadata is replaced whole there, so what others keep in it is sent along.
        """
        sent = {name: [] if name == "models" and value is None else value for name, value in changes.items()}
        metadata = noted(note, key.foreign_metadata)
        reply = await self._upstream.change("/key/update", {"key": key.key_id, "metadata": metadata, **sent})
        if reply.status == 404:
            raise _no_such_key()
        as_object(reply)

    async def owner_of_key(self, key_id: str) -> str | None:
        """`GET /key/info`: whose key it is, or None where there is none (any more)."""
        reply = await self._upstream.read("/key/info", {"key": key_id})
        if reply.status == 404:
            return None
        info = as_object(reply).get("info")
        if not isinstance(info, dict):
            raise nonsense("a key")
        # A deleted key may be answered for a while, marked so.
        return None if info.get("status") == "deleted" else info.get("user_id")

    async def delete_key(self, key_id: str) -> None:
        """`POST /key/delete`. LiteLLM deletes anybody's: prove the owner first. Raises NotFoundError."""
        reply = await self._upstream.change("/key/delete", {"keys": [key_id]})
        if reply.status == 404:
            raise _no_such_key()
        if as_object(reply).get("deleted_keys") != [key_id]:
            raise nonsense("a deletion")

    async def user_ids(self) -> AsyncIterator[str]:
        """`GET /user/list`: the id of every user, in no order, some perhaps twice and some not at all.

        LiteLLM's pages may overlap and miss users where users come and go between them.
        """
        async for row in self._user_rows():
            yield row["user_id"]

    async def users(self) -> AsyncIterator[User]:
        """As `user_ids`, with all that is known of each."""
        async for row in self._user_rows():
            yield user_from(row)

    async def set_key_blocked(self, key_id: str, *, blocked: bool) -> None:
        """`POST /key/block` or `/key/unblock`. Raises NotFoundError."""
        reply = await self._upstream.change("/key/block" if blocked else "/key/unblock", {"key": key_id})
        if reply.status == 404:
            raise _no_such_key()
        if as_object(reply).get("blocked") is not blocked:
            raise nonsense("a blocked key" if blocked else "an unblocked key")

    async def delete_user(self, user_id: str) -> None:
        """`POST /user/delete`, with all the user's keys. One at a time: LiteLLM deletes all of a list or none.

        Raises NotFoundError.
        """
        reply = await self._upstream.change("/user/delete", {"user_ids": [user_id]})
        if reply.status == 404:
            raise no_such_user(user_id)
        if reply.status != 200 or reply.body != 1:
            as_object(reply)
            raise nonsense("a deletion")

    async def is_ready(self) -> bool:
        """`GET /health/readiness`: whether it answers and has its database. Raises UpstreamError."""
        reply = await self._upstream.read("/health/readiness")
        return reply.status == 200 and isinstance(reply.body, dict) and reply.body.get("db") == "connected"

    async def _listed(self, user_id: str, query: Mapping[str, Any]) -> list[Key]:
        keys: dict[str, Key] = {}
        whole = {"user_id": user_id, "return_full_object": "true", "size": _PAGE_SIZE}
        async for rows in self._pages("/key/list", "keys", whole | dict(query)):
            keys |= {key.key_id: key for key in _keys_of(user_id, rows)}
        return sorted(keys.values(), key=lambda key: key.position, reverse=True)

    async def _user_rows(self) -> AsyncIterator[dict[str, Any]]:
        query = {"page_size": _PAGE_SIZE, "sort_by": "created_at", "sort_order": "asc"}
        async for rows in self._pages("/user/list", "users", query):
            for row in rows:
                if not isinstance(row, dict) or not isinstance(row.get("user_id"), str):
                    raise nonsense("a user")
                yield row

    async def _pages(self, path: str, name: str, query: Mapping[str, Any]) -> AsyncIterator[list[Any]]:
        """The rows called `name` of each page of `path`, until LiteLLM says that it was the last or sends none."""
        for page in range(1, _MAX_PAGES + 1):
            answer = as_object(await self._upstream.read(path, {**query, "page": page}))
            rows, pages = answer.get(name), answer.get("total_pages")
            if not isinstance(rows, list) or not isinstance(pages, int):
                raise nonsense(f"a list of {name}")
            yield rows
            if page >= pages or not rows:
                return
        raise nonsense(f"a list of {name}")


def as_object(reply: Reply) -> dict[str, Any]:
    """The JSON object of a good answer. Raises UpstreamFaultError."""
    if reply.status in (401, 403):
        raise UpstreamFaultError("LiteLLM refused this service's own master key; its operator has to mend that")
    if reply.status != 200:
        raise UpstreamFaultError(f"LiteLLM failed with status {reply.status}")
    if not reply.is_json:
        raise UpstreamFaultError("LiteLLM answered with something that is not JSON")
    if not isinstance(reply.body, dict):
        raise nonsense("an answer")
    return reply.body


def no_such_user(user_id: str) -> NotFoundError:
    """The error for a user that LiteLLM does not have."""
    return NotFoundError(f"LiteLLM has no user {user_id}")


def _no_such_key() -> NotFoundError:
    return NotFoundError("There is no key with that id")


def _keys_of(user_id: str, rows: list[Any]) -> Iterator[Key]:
    for row in rows:
        if not isinstance(row, dict):
            raise nonsense("a key")
        if row.get("user_id") == user_id:
            yield key_from(row)


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
