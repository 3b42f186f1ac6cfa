"""LiteLLM's management API. Its quirks stay in this package.

Facts are from https://docs.litellm.ai/docs/proxy/virtual_keys and LiteLLM 1.104.5; `tests/conformance` checks each on
the real product. User ids are LiteLLM's `user_id` (here always a Backstage user ref in lower case), key ids its
`token`, the SHA-256 of the secret. Money is in USD.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.json import Decoder

from clients.chunks import chunks
from clients.litellm.fields import KeyPage, SweptPage, UserPage
from clients.litellm.refusals import refusal_in
from clients.litellm.rows import (
    ANNOTATIONS,
    UNLIMITED_RATE,
    alias_in_litellm,
    annotated,
    created_key_from,
    decoded,
    entry_from,
    found_from,
    key_from,
    require_success,
    stranger_from,
    unexpected_response,
    user_annotations,
    user_from,
)
from clients.upstream import NOT_JSON, Reply, Upstream
from domain import refs
from domain.directory import Window
from domain.errors import ConflictError, NotFoundError, UpstreamFaultError, ValuesRefusedError
from domain.keys import CreatedKey, Key, KeyAnnotations, NewKey
from domain.models import ALL_MODELS
from domain.offboarding import FoundUser
from domain.users import NewUser, User, UserChanges

_PAGE_SIZE = 100  # LiteLLM refuses more with 422
_MAX_PAGES = 1000
_MAX_IDS_BYTES = 7000
_PAGES_AT_ONCE = 4
_KEY_PAGES, _USER_PAGES, _SWEPT_PAGES = Decoder(KeyPage), Decoder(UserPage), Decoder(SweptPage)


T = TypeVar("T")


class LiteLLM:
    """One LiteLLM. Every call raises UpstreamError."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._upstream.aclose()

    async def user_exists(self, user_id: str) -> bool:
        """`GET /v2/user/info`, the cheapest call that says so."""
        reply = await self._upstream.read("/v2/user/info", {"user_id": user_id})
        if reply.status == 404:
            return False
        if as_object(reply).get("user_id") != user_id:
            raise unexpected_response("user")
        return True

    async def read_user(self, user_id: str) -> User | None:
        """`GET /user/list`: the user, or None. The calls for a single user lack the rates, or return all keys too."""
        return (await self.read_users([user_id])).get(user_id)

    async def read_users(self, user_ids: Sequence[str]) -> dict[str, User]:
        """`GET /user/list`: those of `user_ids` that exist. One call for 100 users, unless their ids are long."""
        pages = [decoded(reply, _USER_PAGES, "list of users") async for reply in self._users_among(user_ids)]
        return {row.user_id: user_from(row) for page in pages for row in page.rows if row.user_id in user_ids}

    async def find_users(self, user_ids: Collection[str]) -> dict[str, FoundUser]:
        """`GET /user/list`: those of `user_ids` that exist, whatever else their rows contain."""
        wanted = frozenset(user_ids)
        pages = [decoded(reply, _SWEPT_PAGES, "list of users") async for reply in self._users_among(user_ids)]
        return {row.user_id: found_from(row) for page in pages for row in page.rows if row.user_id in wanted}

    async def users_around(self, index: int) -> Window:
        """`GET /user/list`: consecutive users in LiteLLM's order of ids, among them the one at `index` (from 0).

        The pages are only stable if sorted by a unique column: rows with equal times wander between pages. LiteLLM
        takes no offset; the size of the page is chosen so that the window begins as closely before `index` as possible.
        """
        size = max(range(_PAGE_SIZE // 2 + 1, _PAGE_SIZE + 1), key=lambda size: size - index % size)
        number = index // size
        query = {"page": number + 1, "page_size": size, "sort_by": "user_id", "sort_order": "asc"}
        page = decoded(await self._upstream.read("/user/list", query), _SWEPT_PAGES, "list of users")
        entries = [entry_from(row) for row in page.rows if refs.is_user(row.user_id)]
        others = [stranger_from(row) for row in page.rows if not refs.is_user(row.user_id)]
        strangers = [stranger for stranger in others if stranger is not None]
        return Window(number * size, [row.user_id for row in page.rows], entries, page.total, strangers)

    async def create_user(self, user_id: str, new: NewUser) -> None:
        """`POST /user/new`, without the key that LiteLLM creates by default.

        Raises ConflictError if the user exists, or another user with that e-mail address. Several concurrent calls may
        succeed: read the user back.
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
            "metadata": user_annotations(new.tier, new.taken_email),
        }
        reply = await self._upstream.change("/user/new", body | _given(limits))
        if reply.status == 409:
            raise ConflictError(f"{user_id} already exists")
        _accepted(reply)

    async def update_user(self, user_id: str, changes: UserChanges) -> None:
        """`POST /user/update`. None, and empty `models`, clear a field: LiteLLM ignores an empty list.

        LiteLLM creates a user that does not exist: check that they exist first.
        """
        cleared = {"models": [ALL_MODELS], "tpm_limit": UNLIMITED_RATE, "rpm_limit": UNLIMITED_RATE}
        sent = {name: cleared.get(name) if value is None or value == [] else value for name, value in changes.items()}
        _accepted(await self._upstream.change("/user/update", {"user_id": user_id, **sent}))

    async def create_key(self, user_id: str, new: NewKey) -> CreatedKey:
        """`POST /key/generate`, for model calls only (`key_type: llm_api`).

        LiteLLM creates keys for users that do not exist: check that they exist. If it refuses the alias by which its
        own pages would show the key, the key is created without. Raises ValuesRefusedError.
        """
        alias, operation = new.annotations.alias, new.annotations.operation
        limits = {
            "models": list(new.models) or None,
            "max_budget": new.max_budget,
            "budget_duration": new.budget_duration,
            "duration": None if new.life is None else f"{new.life}s",
            "tpm_limit": new.tpm_limit,
            "rpm_limit": new.rpm_limit,
            "spend": new.spend or None,
        }
        body = {"user_id": user_id, "key_type": "llm_api", "metadata": annotated(new.annotations, new.other_metadata)}
        named = {"key_alias": alias_in_litellm(user_id, alias, operation)} if alias and operation else {}
        row = await self._generated(body | _given(limits), named)
        return created_key_from(row, user_id)

    async def _generated(self, body: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, Any]:
        try:
            return _accepted(await self._upstream.change("/key/generate", {**body, **named}))
        except ValuesRefusedError as error:
            if not (named and error.concerns_alias):
                raise
        return _accepted(await self._upstream.change("/key/generate", body))

    async def list_keys(self, user_id: str) -> list[Key]:
        """`GET /key/list`: all keys of exactly this user, newest first, each once."""
        return await self._listed(user_id, {})

    async def read_key(self, user_id: str, key_id: str) -> Key | None:
        """`GET /key/list`: this user's key with that id. None if it does not exist or is not theirs."""
        keys = await self._listed(user_id, {"key_hash": key_id})
        return next((key for key in keys if key.id == key_id), None)

    async def read_row(self, user_id: str, key_id: str) -> dict[str, Any] | None:
        """`GET /key/info`: all that LiteLLM has of this user's key, by its names, without our annotations.

        Only to compare keys, never to show: the operator's secrets may be among it. `/key/list` leaves columns out,
        such as `policies`. None if there is no such key.
        """
        info = await self._info(key_id)
        if info is None or info.get("user_id") != user_id:
            return None
        metadata = info.get("metadata")
        if not isinstance(metadata, dict):
            return info
        return info | {"metadata": {name: value for name, value in metadata.items() if name != ANNOTATIONS}}

    async def update_key(self, key: Key, changes: Mapping[str, Any], annotations: KeyAnnotations) -> None:
        """`POST /key/update` of limits, `blocked` and our annotations. None clears a field. Raises NotFoundError.

        LiteLLM replaces metadata as a whole, so what others store there is sent again. This is the way to block a key
        and to say in the same moment who did: `{"blocked": True}` together with `annotations.block`.
        """
        sent = {name: [] if name == "models" and value is None else value for name, value in changes.items()}
        metadata = annotated(annotations, key.other_metadata)
        reply = await self._upstream.change("/key/update", {"key": key.id, "metadata": metadata, **sent})
        if reply.status == 404:
            raise _no_such_key()
        _accepted(reply)

    async def owner_of_key(self, key_id: str) -> str | None:
        """`GET /key/info`: the owner of a key. None if there is no such key, or nobody owns it."""
        info = await self._info(key_id)
        return None if info is None else info.get("user_id")

    async def has_key(self, key_id: str) -> bool:
        """`GET /key/info`: whether there is such a key, whoever owns it."""
        return await self._info(key_id) is not None

    async def delete_key(self, key_id: str) -> None:
        """`POST /key/delete`. LiteLLM deletes anybody's key: check the owner first. Raises NotFoundError."""
        reply = await self._upstream.change("/key/delete", {"keys": [key_id]})
        if reply.status == 404:
            raise _no_such_key()
        if as_object(reply).get("deleted_keys") != [key_id]:
            raise unexpected_response("deletion")

    async def set_key_blocked(self, key_id: str, *, blocked: bool) -> None:
        """`POST /key/block` or `/key/unblock`. Raises NotFoundError."""
        reply = await self._upstream.change("/key/block" if blocked else "/key/unblock", {"key": key_id})
        if reply.status == 404:
            raise _no_such_key()
        if as_object(reply).get("blocked") is not blocked:
            raise unexpected_response("blocked key" if blocked else "unblocked key")

    async def delete_user(self, user_id: str) -> None:
        """`POST /user/delete`: deletes the user and all their keys. Raises NotFoundError.

        One user at a time: LiteLLM deletes all users of a list or none.
        """
        reply = await self._upstream.change("/user/delete", {"user_ids": [user_id]})
        if reply.status == 404:
            raise no_such_user(user_id)
        require_success(reply)
        if reply.parsed() != 1:
            raise unexpected_response("deletion")

    async def is_ready(self) -> bool:
        """`GET /health/readiness`: whether LiteLLM answers and has its database. Raises UpstreamError."""
        reply = await self._upstream.watch("/health/readiness")
        body = reply.parsed()
        return reply.status == 200 and isinstance(body, dict) and body.get("db") == "connected"

    async def version(self) -> str:
        """`GET /health/readiness/details`: LiteLLM's version, such as 1.104.5."""
        version = as_object(await self._upstream.read("/health/readiness/details")).get("litellm_version")
        if not isinstance(version, str):
            raise unexpected_response("version")
        return version

    async def _info(self, key_id: str) -> dict[str, Any] | None:
        reply = await self._upstream.read("/key/info", {"key": key_id})
        if reply.status == 404:
            return None
        info = as_object(reply).get("info")
        if not isinstance(info, dict):
            raise unexpected_response("key")
        # LiteLLM returns a deleted key for a while, with this status.
        return None if info.get("status") == "deleted" else info

    async def _users_among(self, user_ids: Collection[str]) -> AsyncIterator[Reply]:
        for some in chunks(user_ids, prefix=",", longest=_MAX_IDS_BYTES, most=_PAGE_SIZE):
            # One id matches substrings, several ids match exactly: so a single id is sent twice.
            joined = ",".join([*some, *some] if len(some) == 1 else some)
            yield await self._upstream.read("/user/list", {"user_ids": joined, "page_size": _PAGE_SIZE})

    async def _listed(self, user_id: str, query: Mapping[str, Any]) -> list[Key]:
        whole = {"user_id": user_id, "return_full_object": "true", "size": _PAGE_SIZE, "sort_by": "token", **query}
        at_once = asyncio.Semaphore(_PAGES_AT_ONCE)

        async def page(number: int) -> KeyPage:
            async with at_once:
                reply = await self._upstream.read("/key/list", whole | {"page": number})
            return decoded(reply, _KEY_PAGES, "list of keys")

        pages = [await page(1)]
        # The last page may say that there are more by now.
        while len(pages) < pages[-1].total_pages and pages[-1].rows:
            if pages[-1].total_pages > _MAX_PAGES:
                raise unexpected_response("list of keys")
            pages += await _all_or_none(page(number) for number in range(len(pages) + 1, pages[-1].total_pages + 1))
        rows = [row for each in pages for row in each.rows if row.user_id == user_id]
        keys = {row.token: key_from(row, user_id) for row in rows}
        return sorted(keys.values(), key=lambda key: key.position, reverse=True)


async def _all_or_none(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order. The first failure is raised, and ends the other calls."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]


def _accepted(reply: Reply) -> dict[str, Any]:
    """The JSON object of a change that LiteLLM accepted. Raises ValuesRefusedError and what `as_object` raises."""
    if (refusal := refusal_in(reply)) is not None:
        raise refusal
    return as_object(reply)


def as_object(reply: Reply) -> dict[str, Any]:
    """The JSON object of a successful response. Raises UpstreamFaultError."""
    require_success(reply)
    body = reply.parsed()
    if body is NOT_JSON:
        raise UpstreamFaultError("LiteLLM returned a response that is not JSON")
    if not isinstance(body, dict):
        raise unexpected_response("JSON object")
    return body


def no_such_user(user_id: str) -> NotFoundError:
    """The error for a user who does not exist in LiteLLM."""
    return NotFoundError(f"LiteLLM has no user {user_id}")


def _no_such_key() -> NotFoundError:
    return NotFoundError("There is no key with that id")


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
