"""What the models of the LiteLLM stand-in say, whole and as server-sent events, in the three formats of 1.104.

OpenAI's chat completions and responses, and Anthropic's messages: https://platform.openai.com/docs/api-reference and
https://docs.anthropic.com/en/api/messages-streaming.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from standalone.litellm_usage import COMPLETION_TOKENS, PROMPT_TOKENS, Row

TEXT = "hi"
"""The answer to everything, as `mock_response` in LiteLLM's configuration makes it."""
_DONE = "data: [DONE]\n\n"


@dataclass(frozen=True)
class Call:
    """A call: its id, its model, what was asked for, and when, in seconds since the epoch."""

    id: str
    model: str
    asked: Row
    created: int


@dataclass(frozen=True)
class Format:
    """How one API answers a call: `whole`, or as the events of `streamed`. `name` is LiteLLM's own for it."""

    name: str
    whole: Callable[[Call], Row]
    streamed: Callable[[Call], Iterator[str]]


def _event(content: Row, name: str | None = None) -> str:
    return f"event: {name}\ndata: {json.dumps(content)}\n\n" if name else f"data: {json.dumps(content)}\n\n"


def _completion(call: Call) -> Row:
    message = {"role": "assistant", "content": TEXT}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return _head(call, "chat.completion") | {"choices": [choice], "usage": _chat_usage()}


def _chunks(call: Call) -> Iterator[str]:
    """One has the role and the text, one the reason of the end, and one the usage, for those who ask for it."""
    head = _head(call, "chat.completion.chunk")
    for delta, reason in (({"role": "assistant", "content": TEXT}, None), ({}, "stop")):
        yield _event(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
    if (call.asked.get("stream_options") or {}).get("include_usage"):
        yield _event(head | {"choices": [], "usage": _chat_usage()})
    yield _DONE


def _head(call: Call, kind: str) -> Row:
    return {"id": f"chatcmpl-{call.id}", "created": call.created, "model": call.model, "object": kind}


def _chat_usage() -> Row:
    total = PROMPT_TOKENS + COMPLETION_TOKENS
    return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS, "total_tokens": total}


def _response(call: Call) -> Row:
    usage = {
        "input_tokens": PROMPT_TOKENS,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": COMPLETION_TOKENS,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
    }
    return _begun(call) | {"status": "completed", "output": [_output(call, TEXT)], "usage": usage}


def _begun(call: Call) -> Row:
    return {
        "id": f"resp_{call.id}",
        "object": "response",
        "created_at": call.created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": call.asked.get("instructions"),
        "metadata": call.asked.get("metadata") or {},
        "model": call.model,
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
    }


def _output(call: Call, text: str | None) -> Row:
    """The message, empty while it is being written."""
    content = [] if text is None else [_text_part(text)]
    status = "in_progress" if text is None else "completed"
    return {"type": "message", "id": f"msg_{call.id}", "status": status, "role": "assistant", "content": content}


def _text_part(text: str) -> Row:
    return {"type": "output_text", "text": text, "annotations": []}


def _response_events(call: Call) -> Iterator[str]:
    item: Row = {"output_index": 0, "item_id": f"msg_{call.id}", "content_index": 0}
    events: list[tuple[str, Row]] = [
        ("created", {"response": _begun(call)}),
        ("in_progress", {"response": _begun(call)}),
        ("output_item.added", {"output_index": 0, "item": _output(call, None)}),
        ("content_part.added", item | {"part": _text_part("")}),
        ("output_text.delta", item | {"delta": TEXT, "logprobs": []}),
        ("output_text.done", item | {"text": TEXT, "logprobs": []}),
        ("content_part.done", item | {"part": _text_part(TEXT)}),
        ("output_item.done", {"output_index": 0, "item": _output(call, TEXT)}),
        ("completed", {"response": _response(call)}),
    ]
    for number, (name, content) in enumerate(events):
        kind = f"response.{name}"
        yield _event({"type": kind, "sequence_number": number} | content, kind)
    yield _DONE


def _message(call: Call) -> Row:
    return {
        "id": f"msg_{call.id}",
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": PROMPT_TOKENS, "output_tokens": COMPLETION_TOKENS},
    }


def _message_events(call: Call) -> Iterator[str]:
    whole = _message(call)
    usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": 0}
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    events: list[tuple[str, Row]] = [
        ("message_start", {"message": whole | {"content": [], "stop_reason": None, "usage": usage}}),
        ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": TEXT}}),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": end, "usage": {"output_tokens": COMPLETION_TOKENS}}),
        ("message_stop", {}),
    ]
    for name, content in events:
        yield _event({"type": name} | content, name)


CHAT = Format("/chat/completions", _completion, _chunks)
RESPONSES = Format("/responses", _response, _response_events)
MESSAGES = Format("anthropic_messages", _message, _message_events)
