"""How handlers answer."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import JSONResponse, Response


class _Line(JSONResponse):
    """JSON that ends its line, for those who read it in a terminal."""

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def answer(body: Any, status: int = 200) -> Response:
    """`body` as JSON, which nobody on the way may store: it may hold a secret, and is somebody's own."""
    return _Line(body, status, headers={"Cache-Control": "no-store"})
