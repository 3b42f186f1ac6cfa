"""A LiteLLM that answers at once with rows in the form of LiteLLM 1.104, so that only our own cost is measured.

It keeps nothing: a user has as many keys as the number at the end of their name says (`user:default/u10`), or one. A
list of all users has the component only, so that a run may last as long as a sweep of the directory. The id of a key
that it creates begins with its owner, in hex, as do the ids that `load.lua` asks for.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.types import Receive, Scope, Send

from bench.processes import SOFTWARE, SOFTWARE_UID
from clients.litellm.rows import user_annotations
from standalone.litellm_rows import Rows

Query = dict[str, list[str]]


def _rows() -> Rows:
    return Rows(time.time, lambda: uuid.uuid4().hex)


@cache
def _user(user_id: str) -> dict[str, Any]:
    uid = SOFTWARE_UID if user_id == SOFTWARE else None
    return _rows().add_user({"user_id": user_id, "metadata": user_annotations(None, None, uid)})


@cache
def _keys(user_id: str) -> list[dict[str, Any]]:
    counted = re.search(r"/u(\d+)$", user_id)
    rows = _rows()
    rows.add_user({"user_id": user_id})
    return [rows.add_key({"user_id": user_id})[0] for _ in range(int(counted[1]) if counted else 1)]


@cache
def _key_page(user_id: str, page: int) -> bytes:
    keys = _keys(user_id)
    pages = -(-len(keys) // 100)
    rows = keys[(page - 1) * 100 : page * 100]
    return orjson.dumps({"keys": rows, "total_count": len(keys), "current_page": page, "total_pages": pages})


def _list_keys(query: Query, _: Any) -> bytes:
    user_id = query.get("user_id", [""])[0]
    if "key_hash" in query:
        key = _keys(user_id)[0] | {"token": query["key_hash"][0]}
        return orjson.dumps({"keys": [key], "total_count": 1, "current_page": 1, "total_pages": 1})
    return _key_page(user_id, int(query.get("page", ["1"])[0]))


@cache
def _user_page(user_ids: str) -> bytes:
    users = [_user(user_id) for user_id in sorted(set(user_ids.split(","))) if user_id]
    return orjson.dumps({"users": users, "total": len(users), "page": 1, "page_size": 100, "total_pages": 1})


def _list_users(query: Query, _: Any) -> bytes:
    return _user_page(query.get("user_ids", [SOFTWARE])[0])


def _user_info(query: Query, _: Any) -> bytes:
    return orjson.dumps(_user(query["user_id"][0]))


def _key_info(query: Query, _: Any) -> bytes:
    key_id = query["key"][0]
    owner = bytes.fromhex(key_id).partition(b"\0")[0].decode()
    return orjson.dumps({"key": key_id, "info": _keys(owner)[0] | {"token": key_id}})


def _generate_key(_: Query, body: Any) -> bytes:
    owner, number = body["user_id"], uuid.uuid4().hex
    key_id = f"{owner.encode().hex()}00{number}{'0' * 64}"[:64]
    return orjson.dumps(_keys(owner)[0] | {"key": f"sk-{number}", "token": key_id})


def _delete_keys(_: Query, body: Any) -> bytes:
    return orjson.dumps({"deleted_keys": body["keys"]})


_ANSWERS: dict[str, Callable[[Query, Any], bytes]] = {
    "/key/list": _list_keys,
    "/user/list": _list_users,
    "/v2/user/info": _user_info,
    "/key/info": _key_info,
    "/key/generate": _generate_key,
    "/key/delete": _delete_keys,
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The stub as an ASGI application."""
    if scope["type"] != "http":
        return
    body = b""
    while scope["method"] == "POST":
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    answer = _ANSWERS[scope["path"]](parse_qs(scope["query_string"].decode()), orjson.loads(body) if body else None)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
