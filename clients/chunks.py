"""Lists of ids in a query, some at a time: proxies accept request lines of 8 KiB, counted as they are encoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import quote


def chunks(ids: Iterable[str], *, prefix: str, longest: int, most: int) -> Iterator[list[str]]:
    """`ids` in lists of at most `most`, and of `longest` encoded bytes with `prefix` before each; at least one id."""
    chunk: list[str] = []
    size = 0
    for each in ids:
        added = len(quote(prefix + each, safe=""))
        if chunk and (len(chunk) == most or size + added > longest):
            yield chunk
            chunk, size = [], 0
        chunk.append(each)
        size += added
    if chunk:
        yield chunk
