"""`GET /user/list` over rows of a test's choice: what LiteLLM answers if its table is not what it should be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import httpx

Rows = Sequence[dict[str, Any]]


def listing(rows: Callable[[], Rows], unreadable: Collection[str] = ()) -> Callable[[httpx.Request], httpx.Response]:
    """An answer that shows the requested page of `rows()`, or those with the requested ids.

    It is a 500 if the page has one of the users `unreadable`.
    """

    def answer(request: httpx.Request) -> httpx.Response:
        query = request.url.params
        wanted = {part for part in query.get("user_ids", "").split(",") if part}
        found = [row for row in rows() if str(row["user_id"]) in wanted] if wanted else rows()
        number, size = int(query.get("page", 1)), int(query.get("page_size", 25))
        shown = [{"key_count": 0} | row for row in found[(number - 1) * size : number * size]]
        if any(str(row["user_id"]) in unreadable for row in shown):
            return httpx.Response(500)
        return httpx.Response(200, json={"users": shown, "total": len(found), "total_pages": -(-len(found) // size)})

    return answer
