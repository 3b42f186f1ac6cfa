"""Changes of one value in a JSON text, with or without comments, that leave every other byte as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_BLANK = re.compile(r"(?:[\s\ufeff]|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SCALAR = re.compile(r"[^\s,\]\}/]+")


class NotJsonError(ValueError):
    """The text is no JSON object, not even one with comments."""


@dataclass(slots=True)
class _Value:
    """Where a value is in the text; `members` if it is an object, by name."""

    start: int
    end: int = 0
    is_object: bool = False
    members: dict[str, _Member] = field(default_factory=dict)


@dataclass(slots=True)
class _Member:
    """`start` is that of its name."""

    start: int
    value: _Value


def value_at(text: str, path: Sequence[str]) -> str | None:
    """The text of a value, or None if there is none. Raises NotJsonError."""
    if _is_empty(text):
        return None
    found = _find(_parse(text), path)
    return text[found.start : found.end] if found else None


def with_value(text: str, path: Sequence[str], value: str) -> str:
    """The text with this value (JSON) at the path, whose objects are made if they are missing. Raises NotJsonError."""
    text = "{}\n" if _is_empty(text) else text
    root = _parse(text)
    if found := _find(root, path):
        return text[: found.start] + value + text[found.end :]
    depth = next(size for size in range(len(path) - 1, -1, -1) if _find(root, path[:size]))
    parent = _find(root, path[:depth])
    assert parent is not None
    if not parent.is_object:
        raise NotJsonError(f"{'.'.join(path[:depth])} is no object")
    newline = "\r\n" if "\r\n" in text else "\n"
    for name in reversed(path[depth + 1 :]):
        value = json.dumps({name: json.loads(value)}, indent=2, ensure_ascii=False)
    return _inserted(text, parent, path[depth], value, newline)


def without_value(text: str, path: Sequence[str]) -> str:
    """The text without this member, if it is there. Raises NotJsonError."""
    parent = _find(_parse(text), path[:-1])
    member = parent.members.get(path[-1]) if parent else None
    if parent is None or member is None:
        return text
    start, end = member.start, member.value.end
    before = text[parent.start + 1 : start]
    start -= len(before) - len(before.rstrip())
    if comma := re.compile(r"\s*,").match(text, end):
        end = comma.end()
        if text[start : member.start] == "" and text[end : end + 1] == " ":
            end += 1
    elif text[:start].endswith(","):
        start -= 1
    return text[:start] + text[end:]


def _inserted(text: str, parent: _Value, name: str, value: str, newline: str) -> str:
    """As the first member, so that no comma or comment of another one has to be understood."""
    first = min((member.start for member in parent.members.values()), default=None)
    line_start = text.rfind("\n", 0, parent.start) + 1
    outer = re.match(r"[ \t]*", text[line_start:])
    outside = outer[0] if outer else ""
    if first is None:
        rest = text[parent.start + 1 :]
        inside = outside + "  "
        closing = "" if re.match(r"[ \t]*\r?\n", rest) else newline + outside
        added = f"{newline}{inside}{json.dumps(name)}: {_indented(value, inside, newline)}{closing}"
        return text[: parent.start + 1] + added + (rest.lstrip(" \t") if closing else rest)
    between = text[parent.start + 1 : first]
    if "\n" not in between:
        added = f"{json.dumps(name)}: {json.dumps(json.loads(value), ensure_ascii=False)}, "
        return text[:first] + added + text[first:]
    inside = text[text.rfind("\n", 0, first) + 1 : first]
    inside = inside if not inside.strip() else outside + "  "
    added = f"{newline}{inside}{json.dumps(name)}: {_indented(value, inside, newline)},"
    return text[: parent.start + 1] + added + text[parent.start + 1 :]


def _indented(value: str, inside: str, newline: str) -> str:
    return value.replace("\n", newline + inside)


def _is_empty(text: str) -> bool:
    return not text.strip("\ufeff \t\r\n")


def _find(root: _Value, path: Sequence[str]) -> _Value | None:
    found = root
    for name in path:
        member = found.members.get(name)
        if member is None:
            return None
        found = member.value
    return found


def _parse(text: str) -> _Value:
    root = _value(text, _blank(text, 0))
    if not root.is_object or _blank(text, root.end) != len(text):
        raise NotJsonError("it is no JSON object")
    return root


def _blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _value(text: str, at: int) -> _Value:
    opening = text[at : at + 1]
    if opening == "{":
        return _object(text, at)
    if opening == "[":
        end = _blank(text, at + 1)
        while text[end : end + 1] != "]":
            end = _after(text, _value(text, end).end, "]")
        return _Value(at, end + 1)
    found = (_STRING if opening == '"' else _SCALAR).match(text, at)
    if found is None:
        raise NotJsonError(f"something is wrong at character {at + 1}")
    return _Value(at, found.end())


def _object(text: str, at: int) -> _Value:
    found = _Value(at, is_object=True)
    at = _blank(text, at + 1)
    while text[at : at + 1] != "}":
        name = _STRING.match(text, at)
        colon = _blank(text, name.end()) if name else at
        if name is None or text[colon : colon + 1] != ":":
            raise NotJsonError(f"something is wrong at character {at + 1}")
        value = _value(text, _blank(text, colon + 1))
        found.members[json.loads(name[0])] = _Member(at, value)
        at = _after(text, value.end, "}")
    found.end = at + 1
    return found


def _after(text: str, at: int, closing: str) -> int:
    """Behind the comma, or at what closes. A comma before what closes is allowed."""
    at = _blank(text, at)
    if text[at : at + 1] == ",":
        return _blank(text, at + 1)
    if text[at : at + 1] != closing:
        raise NotJsonError(f"something is wrong at character {at + 1}")
    return at
