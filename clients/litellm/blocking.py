"""Blocking keys of LiteLLM whatever their rows contain: an id and whether it is blocked is all that this needs.

A `token` that is no SHA-256 may be a secret. So it never leaves this module but for LiteLLM itself; its own SHA-256
stands for it everywhere else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from msgspec.json import Decoder

from clients.litellm.client import LiteLLM, no_such_key
from clients.litellm.fields import ListedKeyPage, ListedKeyRow
from clients.litellm.lists import read_all
from clients.litellm.rows import blocker_in, decoded, encodable, id_of_token, is_annotated, with_block
from clients.upstream import Upstream
from domain.errors import NotFoundError
from domain.keys import Block, ListedKey, ListedKeys, NewestKeys

_PAGE_SIZE = 100
_PAGES = Decoder(ListedKeyPage)


class LiteLLMBlocking:
    """The keys of one LiteLLM, for those who only block them. Every call raises UpstreamError."""

    def __init__(self, upstream: Upstream, litellm: LiteLLM) -> None:
        self._upstream = upstream
        self._litellm = litellm

    async def keys_of(self, user_id: str) -> ListedKeys:
        """`GET /key/list`: the keys of exactly this user, each once."""
        rows = await read_all(partial(self._page, {"user_id": user_id, "sort_by": "token"}), _PAGE_SIZE)
        theirs = [row for row in rows if row is not None and row.user_id == user_id]
        keys = {row.token: _listed(row) for row in theirs if isinstance(row.token, str) and row.token}
        nameless = sum(not isinstance(row.token, str) or not row.token for row in theirs)
        return ListedKeys(tuple(keys.values()), rows.count(None) + nameless)

    async def key_of(self, user_id: str, key_id: str) -> ListedKey:
        """The key of exactly this user with that id. Raises NotFoundError."""
        for key in (await self.keys_of(user_id)).keys:
            if key.id == key_id:
                return key
        raise no_such_key()

    async def block(self, key: ListedKey, block: Block) -> None:
        """Blocks the key, and annotates whose block it is if this service annotated the key. Raises NotFoundError."""
        await self._set_blocked(key, block)

    async def unblock(self, key: ListedKey) -> None:
        """Unblocks the key, and removes the annotation. Raises NotFoundError."""
        await self._set_blocked(key, None)

    async def _set_blocked(self, key: ListedKey, block: Block | None) -> None:
        """`POST /key/update` with the annotation; `/key/block` or `/key/unblock` if there is none or that failed.

        LiteLLM 1.104.5 blocks by hash only; a row with another token is reached by `POST /key/update`, unless it begins
        with `sk-`: LiteLLM hashes that, and has no such row. Such a key is not accepted for calls to models either.
        """
        blocked = block is not None
        if key.metadata is not None:
            body = {"key": key.id, "blocked": blocked, "metadata": with_block(key.metadata, block)}
            if (await self._upstream.change("/key/update", body)).status == 200:
                return
        try:
            await self._litellm.set_key_blocked(key.id, blocked=blocked)
        except NotFoundError:
            if key.token == key.id:
                raise
            reply = await self._upstream.change("/key/update", {"key": key.token, "blocked": blocked})
            if reply.status != 200:
                raise

    async def newest(self, since: float) -> AsyncIterator[NewestKeys]:
        """`GET /key/list`, newest first: pages with everybody's keys, until one ends before `since`.

        `since` is in LiteLLM's time, in seconds since the epoch. LiteLLM's own order is by time and then by token, so
        keys with equal times do not wander between pages; keys without a time come first, and are skipped.
        """
        number, page = 1, await self._newest_page(1)
        yield _newest(page.rows)
        if _has_no_times(page):
            number = await self._first_page_with_times(page.total_pages)
        while number < page.total_pages and not _ends_before(page, since):
            number += 1
            page = await self._newest_page(number)
            yield _newest(page.rows)

    async def _first_page_with_times(self, pages: int) -> int:
        """The page before the first one that ends with a key that has a time, by halving."""
        without, last = 1, pages
        while without + 1 < last:
            middle = (without + last) // 2
            if _has_no_times(await self._newest_page(middle)):
                without = middle
            else:
                last = middle
        return without

    async def _newest_page(self, number: int) -> ListedKeyPage:
        return await self._page({}, number, _PAGE_SIZE)

    async def _page(self, query: Mapping[str, Any], number: int, size: int) -> ListedKeyPage:
        whole = {"return_full_object": "true", **query, "size": size, "page": number}
        return decoded(await self._upstream.read("/key/list", whole), _PAGES, "list of keys")


def _listed(row: ListedKeyRow) -> ListedKey:
    key_id = id_of_token(row.token)
    metadata = encodable(row.metadata) if key_id == row.token and is_annotated(row.metadata) else None
    is_blocked = row.blocked is True
    return ListedKey(key_id, is_blocked, row.token, metadata, blocker_in(metadata) if is_blocked else None)


def _newest(rows: list[ListedKeyRow]) -> NewestKeys:
    owners = frozenset(row.user_id for row in rows if isinstance(row.user_id, str) and row.blocked is not True)
    return NewestKeys(owners, max((time for row in rows if (time := _time(row)) is not None), default=None))


def _has_no_times(page: ListedKeyPage) -> bool:
    return bool(page.rows) and _time(page.rows[-1]) is None


def _ends_before(page: ListedKeyPage, since: float) -> bool:
    time = _time(page.rows[-1]) if page.rows else None
    return time is not None and time < since


def _time(row: ListedKeyRow) -> float | None:
    """When the key was created, in seconds since the epoch; None if its row does not say so."""
    try:
        time = datetime.fromisoformat(row.created_at)
    except (TypeError, ValueError):
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
