"""LiteLLM's lists, page by page, also where LiteLLM fails to show a page because of one row.

It answers 500 then: seen on LiteLLM 1.104.5 and 1.109.3 for times after the year 9999, for metadata that is no object
and for a null in an array; `tests/conformance` asks again. A page behind the last one has no row that could fail, and
tells how many there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, Generic, Protocol, TypeVar

from clients.litellm.rows import LiteLLMFailedError, unexpected_response

_BEYOND_THE_END = 1_000_000
_PAGES_AT_ONCE = 4
_MAX_PAGES = 1000
_PARTS = 10


class Page(Protocol):
    """A page of a list."""

    @property
    def rows(self) -> Sequence[Any]:
        """Its rows."""
        ...


class PageOfUsers(Page, Protocol):
    """A page of `GET /user/list`."""

    @property
    def total(self) -> int:
        """The number of all rows that match."""
        ...


class PageOfKeys(Page, Protocol):
    """A page of `GET /key/list`."""

    @property
    def total_pages(self) -> int:
        """The number of pages of this size."""
        ...


T = TypeVar("T")
P = TypeVar("P", bound=Page)
K = TypeVar("K", bound=PageOfKeys)
U = TypeVar("U", bound=PageOfUsers)
Read = Callable[[int, int], Awaitable[P]]
"""Reads a page: its number, from 1, and the size of pages. Raises UpstreamError."""


@dataclass(frozen=True, slots=True)
class Shown(Generic[P]):
    """The rows of a page, with None for each that LiteLLM fails to show.

    `page` is a page of the same list and size, which tells how many there are.
    """

    rows: Sequence[Any | None]
    page: P


async def read_page(read: Read[P], number: int, size: int) -> Shown[P]:
    """A page. One that LiteLLM fails to show is read in smaller pages. Raises UpstreamError."""
    try:
        page = await read(number, size)
        return Shown(page.rows, page)
    except LiteLLMFailedError:
        empty = await read(_BEYOND_THE_END, size)  # raises, too, if it is for no row that LiteLLM fails
        return Shown(await _in_parts(read, number, size), empty)


async def read_all(read: Read[K], size: int) -> list[Any | None]:
    """The rows of all pages, with None for each that LiteLLM fails to show. Raises UpstreamError.

    The pages after the first are read four at a time.
    """
    at_once = asyncio.Semaphore(_PAGES_AT_ONCE)

    async def page(number: int) -> Shown[K]:
        async with at_once:
            return await read_page(read, number, size)

    pages = [await page(1)]
    # The last page may say that there are more by now.
    while len(pages) < (total := pages[-1].page.total_pages) and pages[-1].rows:
        if total > _MAX_PAGES:
            raise unexpected_response("list of keys")
        pages += await _all_or_none(page(number) for number in range(len(pages) + 1, total + 1))
    return [row for shown in pages for row in shown.rows]


async def read_users(
    read: Callable[[Sequence[str], int], Awaitable[U]], user_ids: Sequence[str]
) -> tuple[list[Any], list[str]]:
    """The rows of those users that exist, and the ids of those that exist and LiteLLM fails to show.

    `read` reads a page of the rows of some users: the first one has all of them. Raises UpstreamError.
    """
    try:
        return [*(await read(user_ids, 1)).rows], []
    except LiteLLMFailedError:
        existing = (await read(user_ids, _BEYOND_THE_END)).total
    if existing == 0 or len(user_ids) == 1:
        return [], [*user_ids][:existing]
    rows: list[Any] = []
    unreadable: list[str] = []
    part = -(-len(user_ids) // _PARTS)
    for start in range(0, len(user_ids), part):
        found, failed = await read_users(read, user_ids[start : start + part])
        rows += found
        unreadable += failed
    return rows, unreadable


async def _in_parts(read: Read[P], number: int, size: int) -> list[Any | None]:
    if size == 1:
        return [None]
    part = max(divisor for divisor in range(1, isqrt(size) + 1) if size % divisor == 0)
    rows: list[Any | None] = []
    for each in range((number - 1) * size // part + 1, number * size // part + 1):
        try:
            found = (await read(each, part)).rows
        except LiteLLMFailedError:
            found = await _in_parts(read, each, part)
        rows += found
        if len(found) < part:
            break
    return rows


async def _all_or_none(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order. The first failure is raised, and ends the other calls."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]
