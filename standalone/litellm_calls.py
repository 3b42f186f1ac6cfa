"""The paths of the LiteLLM stand-in that keys are for. Who is refused, and how, is LiteLLM 1.104's."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from standalone.litellm_answers import CHAT, MESSAGES, RESPONSES, Call, Format
from standalone.litellm_models import Deployments, Holder
from standalone.litellm_policy import RefusedError
from standalone.litellm_rows import Rows
from standalone.litellm_usage import COMPLETION_TOKENS, PROMPT_TOKENS, Row

Endpoint = Callable[[Request], Awaitable[Response]]
_LISTED_SINCE = 1677610602
"""The date that LiteLLM gives to each model."""


class ModelCalls:
    """Calls of models with the keys of `rows`. Each is counted. `deployments` returns the models that there are now."""

    def __init__(self, rows: Rows, deployments: Callable[[], Deployments]) -> None:
        self._rows = rows
        self._deployments = deployments
        self._calls: Counter[tuple[str, str]] = Counter()
        self.endpoints: list[tuple[str, str, Endpoint]] = [
            ("POST", "/v1/chat/completions", self._answering(CHAT)),
            ("POST", "/v1/responses", self._answering(RESPONSES)),
            ("POST", "/v1/messages", self._answering(MESSAGES)),
            ("GET", "/v1/models", self._models),
        ]

    def _answering(self, form: Format) -> Endpoint:
        async def answer(request: Request) -> Response:
            asked = await _body(request)
            key = self._key_of(request)
            model = str(asked.get("model"))
            owner = self._owner_of(key)
            _require_budget(key, owner)
            self._require_model(model, key, owner)
            try:
                self._require_rate(key, owner)
                self._require_served(model, form)
            except RefusedError as error:
                raise _as_anthropic(error) if form is MESSAGES else error from None
            self._rows.count_call(key, model)
            created = int(datetime.fromisoformat(self._rows.stamp()).timestamp())
            call = Call(uuid.uuid4().hex, model, asked, created)
            if asked.get("stream") is True:
                return StreamingResponse(form.streamed(call), media_type="text/event-stream")
            return JSONResponse(form.whole(call))

        return answer

    async def _models(self, request: Request) -> Response:
        """Those that the key may call."""
        key = self._key_of(request)
        owner = self._owner_of(key)
        names = self._deployments().names(with_wildcards=False)
        reached = [name for name in names if self._refusing(name, key, owner) is None]
        rows = [{"id": name, "object": "model", "created": _LISTED_SINCE, "owned_by": "openai"} for name in reached]
        return JSONResponse({"data": rows, "object": "list"})

    def _key_of(self, request: Request) -> Row:
        """The key that the request bears, as OpenAI's clients send it or as Anthropic's do."""
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        secret = bearer or request.headers.get("x-api-key", "")
        if not secret:
            raise RefusedError(401, "Authentication Error, No api key passed in.", "auth_error", "None")
        token = hashlib.sha256(secret.encode()).hexdigest()
        shown = f"sk-...{secret[-4:]}"
        if (key := self._rows.keys.get(token)) is None:
            text = f"Received API Key = {shown}, Key Hash (Token) ={token}."
            table = "Unable to find token in cache or `LiteLLM_VerificationTokenTable`"
            text = f"Authentication Error, Invalid proxy server token passed. {text} {table}"
            raise RefusedError(401, text, "token_not_found_in_db", "key")
        if key["blocked"]:
            text = "Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin."
            raise RefusedError(401, text, "auth_error", "None")
        if self._rows.is_over(key):
            text = f"Key Expiry time {key['expires']} and current time {self._rows.stamp()}"
            raise RefusedError(401, f"Authentication Error - Expired Key. {text}", "expired_key", shown)
        return key

    def _owner_of(self, key: Row) -> Row:
        return self._rows.users.get(key["user_id"] or "", {})

    def _require_model(self, model: str, key: Row, owner: Row) -> None:
        holder = self._refusing(model, key, owner)
        if holder is not None:
            text = f"The requested model '{model}' is not available for this API key, or the model name is invalid."
            text = f"{text} Check the models available to you and try again."
            raise RefusedError(403, text, f"{holder}_model_access_denied", "model")

    def _require_served(self, model: str, form: Format) -> None:
        if not self._deployments().serve(model):
            text = f"{form.name}: Invalid model name passed in model={model}."
            text = f"{text} Call `/v1/models` to view available models for your key."
            raise RefusedError(400, text, "invalid_request_error")

    def _refusing(self, model: str, key: Row, owner: Row) -> Holder | None:
        """Whose list of models does not allow `model`. Raises RefusedError where a wildcard is no expression."""
        lists: dict[Holder, list[str]] = {"key": key["models"], "user": owner.get("models") or []}
        allow = self._deployments().allow
        try:
            return next((holder for holder, names in lists.items() if not allow(names, model, holder)), None)
        except re.error as error:
            raise RefusedError(401, f"Authentication Error, {error}", "auth_error", "None") from error

    def _require_rate(self, key: Row, owner: Row) -> None:
        """Calls and tokens of the minute, of the key and of its owner."""
        minute = self._rows.stamp()[:16]
        held: list[tuple[str, str, Row]] = [("api_key", key["token"], key), ("user", str(key["user_id"]), owner)]
        for kind, name, holder in held:
            calls = self._calls[name, minute]
            for what, used in (("requests", calls), ("tokens", calls * (PROMPT_TOKENS + COMPLETION_TOKENS))):
                limit = holder.get("rpm_limit" if what == "requests" else "tpm_limit")
                if limit is not None and used >= limit:
                    raise self._too_often(f"{kind}: {name}", what, limit)
        for _, name, _ in held:
            self._calls[name, minute] += 1

    def _too_often(self, holder: str, what: str, limit: int) -> RefusedError:
        end = self._rows.stamp(60).replace("T", " ")[:19]
        text = f"Limit type: {what}. Current limit: {limit}, Remaining: 0. Limit resets at: {end} UTC"
        refused = RefusedError(429, f"Rate limit exceeded for {holder}. {text}", "throttling_error")
        refused.headers = {"retry-after": "60", "rate_limit_type": what}
        return refused


def _as_anthropic(error: RefusedError) -> RefusedError:
    """What LiteLLM refuses after it has let the key in, has the shape of the API that was called."""
    kind = "rate_limit_error" if error.status == 429 else "invalid_request_error"
    error.body = {"type": "error", "error": {"type": kind, "message": str(error)}}
    error.headers = {}
    return error


def _require_budget(key: Row, owner: Row) -> None:
    if _is_spent(key):
        name = f"{key['key_alias'] or 'key'} ({key['key_name']})"
        text = f"Budget has been exceeded! Key={name} Current cost: {key['spend']}, Max budget: {key['max_budget']}"
        raise RefusedError(422, text, "budget_exceeded")
    if _is_spent(owner):
        text = f"User={owner['user_id']} over budget. Spend={owner['spend']}, Budget={owner['max_budget']}"
        raise RefusedError(422, f"ExceededBudget: {text}", "budget_exceeded")


def _is_spent(holder: Row) -> bool:
    return holder.get("max_budget") is not None and bool(holder["spend"] >= holder["max_budget"])


async def _body(request: Request) -> Row:
    try:
        asked = json.loads(await request.body())
    except ValueError as error:
        raise RefusedError(400, "Invalid JSON payload", "invalid_request_error") from error
    if not isinstance(asked, dict):
        raise RefusedError(400, "The body must be an object", "invalid_request_error")
    return asked
