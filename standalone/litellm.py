"""A stand-in for LiteLLM's proxy: the calls that `clients/litellm` makes or guards against, and model calls."""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from standalone.litellm_calls import Endpoint, ModelCalls
from standalone.litellm_models import Deployments
from standalone.litellm_policy import Policy, RefusedError
from standalone.litellm_rows import Rows, UnsupportedDurationError
from standalone.litellm_usage import Row

MASTER_KEY = "sk-standalone-master"
VERSION = "1.104.5"
_REGENERATE = (
    "Regenerating Virtual Keys is an Enterprise feature, You must be a LiteLLM Enterprise user to use this feature"
)
_SESSIONS = "litellm-dashboard"
_LATE = re.compile(r"\d{5,}-\d\d-\d\dT")
_USER_COLUMNS = frozenset({"user_id", "user_email", "created_at", "spend", "user_alias", "user_role"})
_KEY_COLUMNS = frozenset({"token", "created_at", "key_alias", "spend", "max_budget", "updated_at"})


class LiteLLMStandIn:
    """LiteLLM in memory. `app` is an ASGI application; `rows` are its tables, `requests` the requests it received.

    `deployments` are the models of its configuration, `policy` is the rest of it. `master_keys` are those that it
    accepts: several while its replicas are restarted with another one. `lists_sessions`: whether it lists the keys that
    it makes for sign-ins to its own pages; releases from 1.90.0 on do not, and count them nowhere.
    """

    def __init__(
        self, now: Callable[[], float] = time.time, new_id: Callable[[], str] = lambda: uuid.uuid4().hex
    ) -> None:
        self.master_keys = {MASTER_KEY}
        self.rows = Rows(now, new_id)
        self.policy = Policy()
        self.deployments = Deployments()
        self.lists_sessions = False
        self.requests: list[str] = []
        managed: list[tuple[str, str, Endpoint]] = [
            ("POST", "/user/new", self._user_new),
            ("GET", "/user/info", self._user_info),
            ("GET", "/v2/user/info", self._user_info_v2),
            ("GET", "/user/list", self._user_list),
            ("POST", "/user/update", self._user_update),
            ("POST", "/user/delete", self._user_delete),
            ("GET", "/user/daily/activity", self._daily_activity),
            ("POST", "/key/generate", self._key_generate),
            ("GET", "/key/list", self._key_list),
            ("GET", "/key/info", self._key_info),
            ("POST", "/key/update", self._key_update),
            ("POST", "/key/delete", self._key_delete),
            ("POST", "/key/block", self._key_block),
            ("POST", "/key/unblock", self._key_block),
            ("POST", "/key/{token}/regenerate", self._key_regenerate),
            ("POST", "/budget/new", self._budget_new),
            ("GET", "/models", self._models),
            ("GET", "/model/info", self._model_info),
            ("GET", "/health/readiness/details", self._details),
        ]
        routes = [Route(path, self._with_master_key(endpoint), methods=[method]) for method, path, endpoint in managed]
        self._calls = ModelCalls(self.rows, lambda: self.deployments)
        routes += self._call_routes()
        routes.append(Route("/health/readiness", self._noted(self._readiness)))
        routes.append(Route("/health/liveliness", self._noted(self._liveliness)))
        self.app = Starlette(routes=routes, exception_handlers={HTTPException: _rendered})

    def calls_below(self, prefix: str) -> ASGIApp:
        """What people with keys get to see of it: the paths of model calls, below `prefix`, and nothing else."""
        return Starlette(routes=self._call_routes(prefix), exception_handlers={HTTPException: _no_path})

    def _call_routes(self, prefix: str = "") -> list[Route]:
        endpoints = self._calls.endpoints
        return [Route(prefix + path, self._noted(endpoint), methods=[method]) for method, path, endpoint in endpoints]

    def _noted(self, endpoint: Endpoint) -> Endpoint:
        async def noted(request: Request) -> Response:
            self.requests.append(f"{request.method} {request.url.path}")
            try:
                return await endpoint(request)
            except UnsupportedDurationError as error:
                is_key = request.url.path.startswith("/key/")
                raise HTTPException(500 if is_key else 400, f"Unsupported duration {error}") from error
            except RefusedError as error:
                return JSONResponse(error.body, error.status, error.headers)

        return noted

    def _with_master_key(self, endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            if request.headers.get("authorization") not in {f"Bearer {key}" for key in self.master_keys}:
                raise HTTPException(401, "Authentication Error, Invalid proxy server token passed.")
            return await endpoint(request)

        return self._noted(guarded)

    async def _user_new(self, request: Request) -> Response:
        asked = await _body(request, user_id=str)
        if asked["user_id"] in self.rows.users:
            raise HTTPException(409, f"{{'error': 'User with id {asked['user_id']} already exists'}}")
        email = asked.get("user_email")
        if email and any((row["user_email"] or "").lower() == email.lower() for row in self.rows.users.values()):
            raise HTTPException(409, f"{{'error': 'User with email {email} already exists'}}")
        answer = dict(self.rows.add_user(self.policy.complete_user(asked)), key="")
        if asked.get("auto_create_key", True):
            answer["key"] = self.rows.add_key({"user_id": asked["user_id"]})[1]
        # LiteLLM answers the key's columns too, and leaves the user's dates empty.
        return JSONResponse(answer | {"created_at": None, "updated_at": None, "budget_reset_at": None})

    async def _user_info(self, request: Request) -> Response:
        user_id = request.query_params.get("user_id")
        if user_id is None:
            return JSONResponse({"user_id": None, "user_info": None, "keys": self._listed(), "teams": []})
        if (row := self.rows.users.get(user_id)) is None:
            raise HTTPException(404, f"User {user_id} not found")
        keys = [key for key in self._listed() if key["user_id"] == user_id]
        return JSONResponse({"user_id": user_id, "user_info": row, "keys": keys, "teams": []})

    async def _user_info_v2(self, request: Request) -> Response:
        user_id = request.query_params.get("user_id", "")
        if (row := self.rows.users.get(user_id)) is None:
            raise HTTPException(404, f"User not found: {user_id}")
        _require_readable([row])
        return JSONResponse({name: value for name, value in row.items() if name not in ("tpm_limit", "rpm_limit")})

    async def _user_list(self, request: Request) -> Response:
        page, size = _number(request, "page", 1), _number(request, "page_size", 25, at_most=100)
        asked = [part for part in request.query_params.get("user_ids", "").split(",") if part]
        users = _sorted(request, list(self.rows.users.values()), _USER_COLUMNS)
        if len(asked) == 1:
            users = [row for row in users if asked[0].lower() in row["user_id"].lower()]
        elif asked:
            wanted = set(asked)
            users = [row for row in users if row["user_id"] in wanted]
        counts = Counter(map(itemgetter("user_id"), self._listed()))
        shown = [row | {"key_count": counts[row["user_id"]]} for row in users[(page - 1) * size : page * size]]
        _require_readable(shown)
        pages = -(-len(users) // size)
        return JSONResponse(
            {"users": shown, "total": len(users), "page": page, "page_size": size, "total_pages": pages}
        )

    async def _user_update(self, request: Request) -> Response:
        asked = await _body(request, user_id=str)
        row = self.rows.update_user(asked)
        return JSONResponse({"user_id": row["user_id"], "data": row})

    async def _user_delete(self, request: Request) -> Response:
        asked = await _body(request, user_ids=list)
        for user_id in asked["user_ids"]:
            if user_id not in self.rows.users:
                return JSONResponse({"detail": {"error": f"User not found, passed user_id={user_id}"}}, 404)
        for user_id in asked["user_ids"]:
            _require_readable(self._keys_of(user_id))
            self.rows.delete_user(user_id)
        return JSONResponse(len(asked["user_ids"]))

    async def _daily_activity(self, request: Request) -> Response:
        query = request.query_params
        page, size = _number(request, "page", 1), _number(request, "page_size", 50)
        days = self.rows.usage.days(query.get("user_id", ""), query["start_date"], query["end_date"])
        pages = -(-len(days) // size)
        totals = self.rows.usage.totals(days) | {"page": page, "total_pages": pages, "has_more": page < pages}
        return JSONResponse({"results": days[(page - 1) * size : page * size], "metadata": totals})

    async def _key_generate(self, request: Request) -> Response:
        asked = self.policy.complete_key(await _body(request))
        alias = asked.get("key_alias")
        if alias and any(key["key_alias"] == alias for key in self.rows.keys.values()):
            text = f"Key with alias '{alias}' already exists. Unique key aliases across all keys are required."
            raise RefusedError(400, text, "bad_request_error", "key_alias")
        row, secret = self.rows.add_key(asked)
        return JSONResponse(row | {"key": secret, "token_id": row["token"]})

    async def _key_list(self, request: Request) -> Response:
        page, size = _number(request, "page", 1), _number(request, "size", 10, at_most=100)
        user_id = request.query_params.get("user_id")
        wanted = {"user_id": user_id, "token": request.query_params.get("key_hash")}
        found = [
            key for key in self._listed() if all(value is None or key[name] == value for name, value in wanted.items())
        ]
        keys = _sorted(request, _newest_first(found), _KEY_COLUMNS)
        shown: list[Any] = [self.rows.listed(key) for key in keys[(page - 1) * size : page * size]]
        _require_readable(shown)
        if request.query_params.get("return_full_object") != "true":
            shown = [key["token"] for key in shown]
        pages = -(-len(keys) // size)
        return JSONResponse({"keys": shown, "total_count": len(keys), "current_page": page, "total_pages": pages})

    async def _key_info(self, request: Request) -> Response:
        token = _hashed(request.query_params.get("key", ""))
        row = self.rows.keys.get(token) or self.rows.deleted_keys.get(token)
        if row is None:
            raise HTTPException(404, "Key not found in database")
        return JSONResponse({"key": token, "info": self.rows.described(row)})

    async def _key_update(self, request: Request) -> Response:
        asked = await _body(request, key=str)
        token = _hashed(asked["key"])
        if token not in self.rows.keys:
            raise HTTPException(404, "Key not found.")
        if "models" in asked and asked["models"] is None:
            raise HTTPException(400, "Authentication Error, Unable to match input value to any allowed input type")
        self.policy.check_change(asked)
        return JSONResponse(self.rows.update_key(token, asked) | {"key": token})

    async def _key_delete(self, request: Request) -> Response:
        asked = await _body(request, keys=list)
        known = [token for token in map(_hashed, asked["keys"]) if token in self.rows.keys]
        if not known:
            raise HTTPException(404, "{'error': 'No keys found'}")
        for token in known:
            self.rows.delete_key(token)
        return JSONResponse({"deleted_keys": asked["keys"]})

    async def _key_block(self, request: Request) -> Response:
        asked = await _body(request, key=str)
        token = _hashed(asked["key"])
        if len(token) != 64:
            raise HTTPException(400, "Invalid key format.")
        if token not in self.rows.keys:
            raise HTTPException(404, "Key not found.")
        return JSONResponse(self.rows.update_key(token, {"blocked": request.url.path == "/key/block"}))

    async def _key_regenerate(self, request: Request) -> Response:
        raise HTTPException(500, _REGENERATE)

    async def _budget_new(self, request: Request) -> Response:
        asked = await _body(request, budget_id=str)
        self.rows.budgets[asked["budget_id"]] = asked
        return JSONResponse(asked)

    async def _models(self, request: Request) -> Response:
        with_wildcards = request.query_params.get("return_wildcard_routes") == "true"
        names = self.deployments.names(with_wildcards=with_wildcards)
        return JSONResponse({"data": [{"id": name, "object": "model"} for name in names], "object": "list"})

    async def _model_info(self, request: Request) -> Response:
        return JSONResponse({"data": self.deployments.info()})

    async def _details(self, request: Request) -> Response:
        return JSONResponse({"status": "healthy", "db": "connected", "litellm_version": VERSION})

    async def _readiness(self, request: Request) -> Response:
        return JSONResponse({"status": "healthy", "db": "connected"})

    async def _liveliness(self, request: Request) -> Response:
        return JSONResponse("I'm alive!")

    def _listed(self) -> list[Row]:
        return [key for key in self.rows.keys.values() if self.lists_sessions or key["team_id"] != _SESSIONS]

    def _keys_of(self, user_id: str) -> list[Row]:
        return [key for key in self.rows.keys.values() if key["user_id"] == user_id]


async def _rendered(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 422:
        return JSONResponse({"detail": [{"type": "value_error", "loc": ["body"], "msg": error.detail}]}, 422)
    body = {"message": error.detail, "type": "error", "param": None, "code": str(error.status_code)}
    return JSONResponse({"error": body}, error.status_code)


async def _no_path(_: Request, error: Exception) -> Response:
    """As FastAPI answers where there is no path, and no method of it."""
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"detail": error.detail}, error.status_code)


async def _body(request: Request, **required: type) -> Row:
    try:
        asked = json.loads(await request.body())
    except ValueError as error:
        raise HTTPException(422, "JSON decode error") from error
    if not isinstance(asked, dict) or not all(isinstance(asked.get(name), kind) for name, kind in required.items()):
        raise HTTPException(422, f"Input should have {', '.join(required)}")
    return asked


def _sorted(request: Request, rows: list[Row], columns: frozenset[str]) -> list[Row]:
    """The rows by the column `sort_by`, as they are without it."""
    column = request.query_params.get("sort_by")
    if column is None:
        return rows
    if column not in columns:
        raise HTTPException(400, f"Invalid sort column. Must be one of: {', '.join(sorted(columns))}")
    is_descending = request.query_params.get("sort_order", "asc") == "desc"
    return sorted(rows, key=lambda row: str(row.get(column)), reverse=is_descending)


def _newest_first(keys: list[Row]) -> list[Row]:
    """LiteLLM's own order of keys: those without a time, then by time and token, descending."""
    return sorted(
        keys, key=lambda key: (key["created_at"] is None, str(key["created_at"] or ""), key["token"]), reverse=True
    )


def _require_readable(rows: list[Row]) -> None:
    """LiteLLM's database engine cannot read times after the year 9999, and with them whatever else was asked for."""
    if any(isinstance(value, str) and _LATE.match(value) for row in rows for value in row.values()):
        raise HTTPException(500, "Authentication Error, Inconsistent column data: Conversion failed")


def _number(request: Request, name: str, default: int, at_most: int | None = None) -> int:
    number = int(request.query_params.get(name, default))
    if number < 1 or (at_most is not None and number > at_most):
        raise HTTPException(422, f"{name} should be less than or equal to {at_most}")
    return number


def _hashed(key: str) -> str:
    """LiteLLM takes a hash or a secret wherever it wants a key."""
    return hashlib.sha256(key.encode()).hexdigest() if key.startswith("sk-") else key
