"""LiteLLM's management API: every quirk of it stays in here.

Facts from https://docs.litellm.ai/docs/proxy/virtual_keys and from LiteLLM 1.104.5, each held by
`tests/conformance`. Ids are LiteLLM's `user_id` (here always a Backstage user ref in lower case) and `token`, the
SHA-256 of a key's secret. Amounts are USD.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from clients.litellm_fields import KEY_FIELDS, Key
from clients.upstream import Reply, Upstream
from services.errors import ConflictError, NotFoundError, UpstreamFaultError

_PAGE_SIZE = 100  # LiteLLM refuses more with 422
_MAX_PAGES = 1000
_KEY_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class User:
    """A LiteLLM user. `created_at` is ISO 8601; `max_budget` None is no limit, 0 is a budget."""

    user_id: str
    created_at: str
    max_budget: float | None
    budget_duration: str | None
    spend: float


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

    async def read_user(self, user_id: str) -> User | None:
        """`GET /v2/user/info`: the user, or None."""
        reply = await self._upstream.read("/v2/user/info", {"user_id": user_id})
        if reply.status == 404:
            return None
        row = self._object(reply)
        if row.get("user_id") != user_id:
            raise self._nonsense("a user")
        return self._user(row)

    async def create_user(self, user_id: str, *, max_budget: float | None, budget_duration: str | None) -> None:
        """`POST /user/new`, without the key that LiteLLM would mint along with it.

        Raises ConflictError where the user exists. Of several at once more than one may succeed: read back.
        """
        body = {"user_id": user_id, "user_role": "internal_user", "auto_create_key": False}
        body |= {"max_budget": max_budget} if max_budget is not None else {}
        body |= {"budget_duration": budget_duration} if budget_duration is not None else {}
        reply = await self._upstream.change("/user/new", body)
        if reply.status == 409:
            raise ConflictError(f"{user_id} exists already")
        self._object(reply)

    async def create_key(self, user_id: str) -> MintedKey:
        """`POST /key/generate`, for calls to models only (`key_type: llm_api`).

        LiteLLM mints a key for a user that does not exist as well: whether they do is the caller's to check.
        """
        reply = await self._upstream.change("/key/generate", {"user_id": user_id, "key_type": "llm_api"})
        row = self._object(reply)
        key_id, secret = row.get("token"), row.get("key")
        if not (_is_key_id(key_id) and isinstance(secret, str) and secret and row.get("user_id") == user_id):
            raise self._nonsense("a key")
        return MintedKey(user_id=user_id, key_id=str(key_id), secret=secret)

    async def list_keys(self, user_id: str) -> list[Key]:
        """`GET /key/list`: every key of exactly this user, newest first, each once."""
        keys: dict[str, Key] = {}
        query = {"user_id": user_id, "return_full_object": "true", "size": _PAGE_SIZE}
        async for rows in self._pages("/key/list", "keys", query):
            keys |= {key["token"]: key for key in self._keys_of(user_id, rows)}
        return sorted(keys.values(), key=lambda key: (key.get("created_at", ""), key["token"]), reverse=True)

    async def owner_of_key(self, key_id: str) -> str | None:
        """`GET /key/info`: whose key it is, or None where there is none (any more)."""
        reply = await self._upstream.read("/key/info", {"key": key_id})
        if reply.status == 404:
            return None
        info = self._object(reply).get("info")
        if not isinstance(info, dict):
            raise self._nonsense("a key")
        # A deleted key may be answered for a while, marked so.
        return None if info.get("status") == "deleted" else info.get("user_id")

    async def delete_key(self, key_id: str) -> None:
        """`POST /key/delete`. LiteLLM deletes anybody's: prove the owner first. Raises NotFoundError."""
        reply = await self._upstream.change("/key/delete", {"keys": [key_id]})
        if reply.status == 404:
            raise NotFoundError("There is no key with that id")
        if self._object(reply).get("deleted_keys") != [key_id]:
            raise self._nonsense("a deletion")

    async def user_ids(self) -> AsyncIterator[str]:
        """`GET /user/list`: the id of every user, in no order, some perhaps twice and some not at all.

        LiteLLM's pages may overlap and miss users where users come and go between them.
        """
        query = {"page_size": _PAGE_SIZE, "sort_by": "created_at", "sort_order": "asc"}
        async for rows in self._pages("/user/list", "users", query):
            for row in rows:
                if not isinstance(row, dict) or not isinstance(row.get("user_id"), str):
                    raise self._nonsense("a user")
                yield row["user_id"]

    async def set_key_blocked(self, key_id: str, *, blocked: bool) -> None:
        """`POST /key/block` or `/key/unblock`. Raises NotFoundError."""
        reply = await self._upstream.change("/key/block" if blocked else "/key/unblock", {"key": key_id})
        if reply.status == 404:
            raise NotFoundError("There is no key with that id")
        if self._object(reply).get("blocked") is not blocked:
            raise self._nonsense("a blocked key" if blocked else "an unblocked key")

    async def delete_user(self, user_id: str) -> None:
        """`POST /user/delete`, with all the user's keys. One at a time: LiteLLM deletes all of a list or none.

        Raises NotFoundError.
        """
        reply = await self._upstream.change("/user/delete", {"user_ids": [user_id]})
        if reply.status == 404:
            raise no_such_user(user_id)
        if reply.status != 200 or reply.body != 1:
            self._object(reply)
            raise self._nonsense("a deletion")

    async def is_ready(self) -> bool:
        """`GET /health/readiness`: whether it answers and has its database. Raises UpstreamError."""
        reply = await self._upstream.read("/health/readiness")
        return reply.status == 200 and isinstance(reply.body, dict) and reply.body.get("db") == "connected"

    async def _pages(self, path: str, name: str, query: Mapping[str, Any]) -> AsyncIterator[list[Any]]:
        """The rows called `name` of each page of `path`, until LiteLLM says that it was the last or sends none."""
        for page in range(1, _MAX_PAGES + 1):
            answer = self._object(await self._upstream.read(path, {**query, "page": page}))
            rows, pages = answer.get(name), answer.get("total_pages")
            if not isinstance(rows, list) or not isinstance(pages, int):
                raise self._nonsense(f"a list of {name}")
            yield rows
            if page >= pages or not rows:
                return
        raise self._nonsense(f"a list of {name}")

    def _object(self, reply: Reply) -> dict[str, Any]:
        if reply.status in (401, 403):
            raise UpstreamFaultError("LiteLLM refused this service's own master key; its operator has to mend that")
        if reply.status != 200:
            raise UpstreamFaultError(f"LiteLLM failed with status {reply.status}")
        if not reply.is_json:
            raise UpstreamFaultError("LiteLLM answered with something that is not JSON")
        if not isinstance(reply.body, dict):
            raise self._nonsense("an answer")
        return reply.body

    def _user(self, row: Mapping[str, Any]) -> User:
        created, budget, duration = row.get("created_at"), row.get("max_budget"), row.get("budget_duration")
        spend: Any = row.get("spend")
        if not (
            isinstance(created, str)
            and (budget is None or _is_amount(budget))
            and (duration is None or isinstance(duration, str))
            and _is_amount(spend)
        ):
            raise self._nonsense("a user")
        return User(str(row["user_id"]), created, budget, duration, spend)

    def _keys_of(self, user_id: str, rows: list[Any]) -> Iterator[Key]:
        for row in rows:
            if not isinstance(row, dict):
                raise self._nonsense("a key")
            if row.get("user_id") == user_id:
                yield self._key(row)

    def _key(self, row: Mapping[str, Any]) -> Key:
        key: Key = {}
        for name, types in KEY_FIELDS.items():
            if name in row:
                value = key[name] = row[name]
                # The exact type: a bool is an int to isinstance.
                if type(value) not in types:
                    raise self._nonsense("a key")
        if not (_is_key_id(key.get("token")) and key.keys() >= {"models", "spend", "metadata"}):
            raise self._nonsense("a key")
        return key

    @staticmethod
    def _nonsense(what: str) -> UpstreamFaultError:
        return UpstreamFaultError(f"LiteLLM's answer does not hold {what} in the form that this service knows")


def no_such_user(user_id: str) -> NotFoundError:
    """The error for a user that LiteLLM does not have."""
    return NotFoundError(f"LiteLLM has no user {user_id}")


def _is_key_id(value: Any) -> bool:
    return isinstance(value, str) and _KEY_ID.fullmatch(value) is not None


def _is_amount(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
