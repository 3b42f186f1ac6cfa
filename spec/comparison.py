"""What a new contract breaks for the callers of an old one.

A request that the old contract allowed must stay allowed, and a response must stay within what the old one promised. So
the schemas of requests may only widen, and those of responses may only narrow; new optional parameters, new operations
and new fields of a response are compatible. The rules follow those of oasdiff (https://github.com/oasdiff/oasdiff),
with two additions: a response may not get a new enum value, because typed clients fail on it, and therefore no new enum
either. `spec/exceptions.yaml` names what is permitted all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from edge.checks import ContractValidator
from spec.exceptions import Exceptions

Document = Mapping[str, Any]
_METHODS = ("get", "put", "post", "patch", "delete", "head", "options")
_UPPER = ("maxLength", "maximum", "maxItems", "maxProperties")
_LOWER = ("minLength", "minimum", "minItems", "minProperties")
_EXACT = ("pattern", "format", "multipleOf", "uniqueItems")
_COMPOSED = ("allOf", "oneOf", "anyOf", "not")
_DEPTH = 20


class Direction(Enum):
    """Who sends what a schema describes: the caller, or the service."""

    REQUEST = "request"
    RESPONSE = "response"


class Place(NamedTuple):
    """Where a schema stands: in words, and by the name of its component, else of its parameter or `Component.field`."""

    words: str
    schema: str = ""


class Comparison:
    """Compares two contracts, `old` and `new`, as parsed documents."""

    def __init__(self, old: Document, new: Document, exceptions: Exceptions | None = None) -> None:
        self._old = old
        self._new = new
        self._exceptions = exceptions or Exceptions()
        self._found: dict[tuple[str, str, Direction], list[str]] = {}  # of two components, without where they stand

    def breaking_changes(self) -> list[str]:
        """A sentence for each breaking change; empty if there is none."""
        return list(dict.fromkeys([*self._operations(), *self._new_closed_lists()]))

    def _new_closed_lists(self) -> Iterator[str]:
        for name in sorted(_closed_lists_in_answers(self._new) - _closed_lists_in_answers(self._old)):
            yield f"{name}: a new closed list of values in an answer; use a string whose description names them"

    def _operations(self) -> Iterator[str]:
        for path, method, old in _operations(self._old):
            place = f"{method.upper()} {path}"
            new_item = self._new["paths"].get(path, {})
            new = new_item.get(method)
            if new is None:
                yield f"{place}: the operation was removed"
                continue
            if old.get("operationId") != new.get("operationId"):
                yield f"{place}: operationId changed from {old.get('operationId')} to {new.get('operationId')}"
            if _is_open(self._old, old) and not _is_open(self._new, new):
                yield f"{place}: it needs authentication now"
            yield from self._parameters(
                place, self._parameters_of(self._old, path, old), self._parameters_of(self._new, path, new)
            )
            yield from self._body(place, old.get("requestBody"), new.get("requestBody"))
            yield from self._responses(place, old["responses"], new["responses"])

    @staticmethod
    def _parameters_of(document: Document, path: str, operation: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
        rows = [*document["paths"][path].get("parameters", []), *operation.get("parameters", [])]
        resolved = [_resolved(document, row) for row in rows]
        return {(row["in"], row["name"].lower() if row["in"] == "header" else row["name"]): row for row in resolved}

    def _parameters(
        self, place: str, old: Mapping[tuple[str, str], Any], new: Mapping[tuple[str, str], Any]
    ) -> Iterator[str]:
        for key, row in new.items():
            if key not in old and row.get("required"):
                yield f"{place}: the new {key[0]} parameter {key[1]} is required"
        for key, row in old.items():
            where = f"{place}: the {key[0]} parameter {key[1]}"
            if key not in new:
                yield f"{where} was removed"
                continue
            if new[key].get("required") and not row.get("required"):
                yield f"{where} became required"
            if row.get("schema", {}).get("default") != new[key].get("schema", {}).get("default"):
                yield f"{where} has another default"
            yield from self._schemas(
                Place(where, key[1]), row.get("schema", {}), new[key].get("schema", {}), Direction.REQUEST
            )

    def _body(self, place: str, old: Any, new: Any) -> Iterator[str]:
        old, new = _resolved(self._old, old or {}), _resolved(self._new, new or {})
        if new.get("required") and not old.get("required"):
            yield f"{place}: the body became required"
        for media_type, row in old.get("content", {}).items():
            if media_type not in new.get("content", {}):
                yield f"{place}: the body may not be {media_type} any more"
                continue
            schema = new["content"][media_type].get("schema", {})
            yield from self._schemas(Place(f"{place}: the body"), row.get("schema", {}), schema, Direction.REQUEST)

    def _responses(self, place: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
        for status, row in old.items():
            where = f"{place}: the {status} response"
            if status not in new:
                if status.startswith("2"):
                    yield f"{where} was removed"
                continue
            before, after = _resolved(self._old, row), _resolved(self._new, new[status])
            yield from self._headers(where, before.get("headers", {}), after.get("headers", {}))
            for media_type, content in before.get("content", {}).items():
                if media_type not in after.get("content", {}):
                    yield f"{where} is not {media_type} any more"
                    continue
                schema = after["content"][media_type].get("schema", {})
                yield from self._schemas(Place(where), content.get("schema", {}), schema, Direction.RESPONSE)

    def _headers(self, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
        for name, row in old.items():
            before = _resolved(self._old, row)
            if name not in new:
                yield f"{where} has no header {name} any more"
                continue
            after = _resolved(self._new, new[name])
            if before.get("required") and not after.get("required"):
                yield f"{where} does not always have the header {name} any more"
            header = f"{where}, header {name}"
            yield from self._schemas(
                Place(header), before.get("schema", {}), after.get("schema", {}), Direction.RESPONSE
            )

    def _schemas(self, place: Place, old: Any, new: Any, direction: Direction, depth: int = 0) -> Iterator[str]:
        pair = (_reference(old), _reference(new), direction)
        if not (pair[0] and pair[1]):
            yield from self._resolved_schemas(place, old, new, direction, depth)
            return
        if pair not in self._found:
            self._found[pair] = []  # where one contains itself, it is being compared already
            self._found[pair] = list(self._resolved_schemas(Place(""), old, new, direction))
        yield from (place.words + problem for problem in self._found[pair])

    def _resolved_schemas(
        self, place: Place, old: Any, new: Any, direction: Direction, depth: int = 0
    ) -> Iterator[str]:
        if depth > _DEPTH:
            return
        where, name = place.words, _component(new) or place.schema
        old, new = _resolved(self._old, old), _resolved(self._new, new)
        sent, accepted = (old, new) if direction is Direction.REQUEST else (new, old)
        for keyword, problem in _excluded(sent, accepted, old, new):
            if not self._is_permitted(name, keyword, old, new, direction):
                yield f"{where} {problem}"
        if any(len(old.get(name, ())) != len(new.get(name, ())) for name in _COMPOSED):
            yield f"{where} is composed in another way"
        yield from self._properties(Place(where, name), old, new, direction, depth)
        for part, label in (("items", "each item of"), ("additionalProperties", "each other property of")):
            if isinstance(old.get(part), dict) and isinstance(new.get(part), dict):
                yield from self._schemas(Place(f"{where}, {label} it"), old[part], new[part], direction, depth + 1)
        for part in _COMPOSED[:3]:
            for before, after in zip(old.get(part, ()), new.get(part, ()), strict=False):
                yield from self._schemas(Place(f"{where}, {part}"), before, after, direction, depth + 1)

    def _is_permitted(
        self, name: str, keyword: str, old: Mapping[str, Any], new: Mapping[str, Any], direction: Direction
    ) -> bool:
        if direction is Direction.REQUEST:
            return keyword == "pattern" and self._exceptions.permit_pattern(name, old, new)
        return keyword == "enum" and self._exceptions.permit_opening(name, old, new)

    def _properties(
        self, place: Place, old: Mapping[str, Any], new: Mapping[str, Any], direction: Direction, depth: int
    ) -> Iterator[str]:
        where = place.words
        before, after = old.get("properties", {}), new.get("properties", {})
        required_before, required_after = set(old.get("required", ())), set(new.get("required", ()))
        if direction is Direction.REQUEST:
            yield from (f"{where} requires {name} now" for name in sorted(required_after - required_before))
        else:
            lost = sorted((required_before - required_after) & after.keys())
            yield from (f"{where} does not always have {name} any more" for name in lost)
        for name, row in before.items():
            if name not in after:
                yield f"{where} has no field {name} any more"
            else:
                below = Place(f"{where}, field {name}", f"{place.schema}.{name}")
                yield from self._schemas(below, row, after[name], direction, depth + 1)


def _excluded(
    sent: Mapping[str, Any], accepted: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """In what `accepted` excludes values that `sent` includes: the keyword, and a description."""
    kinds = (sent.get("type"), accepted.get("type"))
    if "type" in accepted and kinds[0] != kinds[1] and kinds != ("integer", "number"):
        yield "type", f"changed its type from {old.get('type')} to {new.get('type')}"
    if sent.get("nullable") and not accepted.get("nullable"):
        yield "nullable", "changed whether it may be null"
    if "enum" in accepted and set(map(str, sent.get("enum", [""]))) - set(map(str, accepted["enum"])):
        yield "enum", "changed its values"
    if not _lists_only_accepted(sent, accepted):
        for name in (*_UPPER, *_LOWER, *_EXACT):
            if name in accepted and (name not in sent or _is_beyond(name, sent[name], accepted[name])):
                yield name, f"changed its {name} from {old.get(name)} to {new.get(name)}"
    if accepted.get("additionalProperties") is False and sent.get("additionalProperties", True) is not False:
        yield "additionalProperties", "changed whether it may have other fields"


def _lists_only_accepted(sent: Mapping[str, Any], accepted: Mapping[str, Any]) -> bool:
    """Whether `sent` lists its values, and `accepted` accepts each."""
    return "enum" in sent and all(ContractValidator(dict(accepted)).is_valid(value) for value in sent["enum"])


def _is_beyond(keyword: str, sent: Any, limit: Any) -> bool:
    if keyword in _UPPER:
        return bool(sent > limit)
    return bool(sent < limit) if keyword in _LOWER else bool(sent != limit)


def _operations(document: Document) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, method, item[method]


def _is_open(document: Document, operation: Mapping[str, Any]) -> bool:
    return not operation.get("security", document.get("security", []))


def _closed_lists_in_answers(document: Document) -> set[str]:
    """The components of responses, or else the operations, with a schema that lists all its values."""
    found: set[str] = set()
    seen: set[str] = set()
    for path, method, operation in _operations(document):
        for place, node in _below(document, operation["responses"], f"{method.upper()} {path}", seen):
            if isinstance(node.get("enum"), list) and "type" in node:
                found.add(place)
    return found


def _below(document: Document, node: Any, place: str, seen: set[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each object below `node`, with the component or place in which it stands; each component once."""
    if reference := _reference(node):
        if reference not in seen:
            seen.add(reference)
            yield from _below(document, _resolved(document, node), _component(node), seen)
    elif isinstance(node, Mapping):
        yield place, node
        for key, value in node.items():
            if key not in ("example", "examples"):
                yield from _below(document, value, place, seen)
    elif isinstance(node, list):
        for value in node:
            yield from _below(document, value, place, seen)


def _component(node: Any) -> str:
    """The name of the component that `node` refers to; empty if it stands where it is."""
    return _reference(node).rpartition("/")[2]


def _reference(node: Any) -> str:
    return str(node["$ref"]) if isinstance(node, Mapping) and "$ref" in node else ""


def _resolved(document: Document, node: Any) -> Any:
    while isinstance(node, Mapping) and "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = target
    return node
