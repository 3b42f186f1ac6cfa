"""Lists of ids in queries stay below what proxies accept, whatever script the ids are in."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.backstage.catalog import Catalog, no_pause
from clients.chunks import chunks
from clients.litellm.client import LiteLLM
from clients.upstream import Upstream
from settings.model import Timeouts

LINE_BYTES = 8192
NAMES = {"chinese": "\u738b" * 100, "emoji": "\U0001f600" * 254, "latin": "x" * 254, "usual": "alice"}


@given(ids=st.lists(st.text(min_size=1, max_size=30), max_size=40), longest=st.integers(1, 300), most=st.integers(1, 9))
def test_chunks_are_all_of_it_in_order(ids: list[str], longest: int, most: int) -> None:
    """Each is short enough, unless it is a single id, and no two neighbours fit into one."""
    ids = [text.encode("utf-8", "replace").decode() for text in ids]
    found = list(chunks(ids, prefix=",", longest=longest, most=most))
    sizes = [sum(len(quote("," + text, safe="")) for text in chunk) for chunk in found]
    assert [text for chunk in found for text in chunk] == ids
    assert all(len(chunk) <= most for chunk in found)
    assert all(size <= longest or len(chunk) == 1 for size, chunk in zip(sizes, found, strict=True))


class Lines(httpx.AsyncBaseTransport):
    """Notes the length of each request line, and answers emptily."""

    def __init__(self) -> None:
        self.lines: list[int] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.lines.append(len(b"GET  HTTP/1.1\r\n") + len(request.url.raw_path))
        if request.url.path == "/user/list":
            return httpx.Response(200, json={"users": [], "total": 0})
        if request.url.path.endswith("/by-query"):
            return httpx.Response(200, json={"items": [], "totalItems": 0, "pageInfo": {}})
        return httpx.Response(200, json=self.group if "by-name" in request.url.path else {"items": self.children})

    children: list[dict[str, object]]
    group: dict[str, object]


@pytest.mark.parametrize("name", NAMES)
async def test_request_lines_to_litellm(name: str) -> None:
    """A hundred users of long names in any script, and a single one, who is sent twice."""
    for count in (1, 2, 100):
        wire = Lines()
        client = LiteLLM(Upstream("LiteLLM", "http://x", timeouts=Timeouts(), transport=wire))
        await client.read_users([f"user:default/{number}{NAMES[name]}"[:267] for number in range(count)])
        assert max(wire.lines) < LINE_BYTES
        assert name != "usual" or len(wire.lines) == 1


@pytest.mark.parametrize("name", NAMES)
async def test_request_lines_to_the_catalog(name: str) -> None:
    """A group with two hundred groups below it; the cursor of a next page repeats the filter in base64."""
    wire = Lines()
    refs = [f"group:default/{number}{NAMES[name]}" for number in range(200)]
    relations = [{"type": "parentOf", "targetRef": ref} for ref in refs]
    wire.group = {"kind": "Group", "metadata": {"name": "root"}, "relations": relations}
    wire.children = [{"kind": "Group", "metadata": {"name": ref}, "relations": []} for ref in refs]
    catalog = Catalog(
        Upstream("Backstage", "http://x", timeouts=Timeouts(), transport=wire),
        include_nested_groups=True,
        keep_orphans=True,
    )
    await catalog.members_of("group:default/root", no_pause)
    assert max(wire.lines) < LINE_BYTES * 3 / 4
