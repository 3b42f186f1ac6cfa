"""How handlers answer."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse


def answer(body: Any, status: int = 200) -> JSONResponse:
    """`body` as JSON, which nobody on the way may store: it may hold a secret, and is somebody's own."""
    return JSONResponse(body, status, headers={"Cache-Control": "no-store"})
