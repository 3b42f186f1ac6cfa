"""Reads dataclasses from a tree of `app-config.yaml`, writes them as one, and says what is valid in such a tree.

What an operator writes for a field is its type with msgspec's constraints, and the notes below. These are dataclasses,
which msgspec knows as well as its structs, because a struct shows every field in its `repr`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from functools import cache, partial
from itertools import accumulate
from types import NoneType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from jsonschema import ValidationError
from msgspec import Meta
from msgspec.json import schema as schema_of_type

Place = tuple[str, ...]

_BACKSTAGES = "backend"
"""The block in which Backstage has settings of its own."""


@dataclass(frozen=True)
class At:
    """Where a field is in the block of its dataclass, with dots. Without this note: in `BLOCK`, in camelCase."""

    place: str


@dataclass(frozen=True)
class Default:
    """What applies without the setting, in words. Without this note: the default of the field."""

    words: str


@dataclass(frozen=True)
class Form:
    """How an operator writes what a field holds: as which type, if it is another, and the ways between both.

    If `written` is a dataclass, the field holds something that has the same fields.
    """

    written: Any = None
    read: Callable[[Any], Any] = lambda given: tuple(given) if isinstance(given, list) else given
    write: Callable[[Any], Any] = lambda held: list(held) if isinstance(held, tuple) else held


@dataclass(frozen=True)
class Setting:
    """A field, and its place in the block of its dataclass. `row` is the dataclass of each row, if it has such rows."""

    field: Field[Any]
    place: Place
    form: Form
    row: Any
    default: Default | None

    @property
    def block(self) -> Any:
        """The dataclass that has the settings of this block, None if it is a value."""
        return self.form.written if is_dataclass(self.form.written) else None

    @property
    def is_required(self) -> bool:
        """Whether there is no default of any kind."""
        return self.default is None and self.field.default is MISSING and self.field.default_factory is MISSING


@cache
def settings_of(kind: type) -> tuple[Setting, ...]:
    """The settings of a dataclass, its own before those that it inherits."""
    hints, own = get_type_hints(kind, include_extras=True), [*kind.__annotations__]
    in_order = sorted(fields(kind), key=lambda field: own.index(field.name) if field.name in own else len(own))
    return tuple(_setting(kind, field, hints[field.name]) for field in in_order)


def read(kind: Any, make: Any, tree: Mapping[str, Any]) -> Any:
    """A `make` from a valid tree with the settings of `kind`. What is absent has its default."""
    given = [(setting, find(tree, *setting.place)) for setting in settings_of(kind)]
    return make(**{setting.field.name: setting.form.read(value) for setting, value in given if value is not None})


def write(kind: type, value: Any, tree: dict[str, Any] | None = None) -> dict[str, Any]:
    """`tree` with the settings of `kind` that `value` holds. What is not set is None."""
    tree = {} if tree is None else tree
    for setting in settings_of(kind):
        held = getattr(value, setting.field.name)
        if setting.block is not None and held is not None:
            write(setting.block, held, _block(tree, setting.place))
        elif setting.place:
            _block(tree, setting.place[:-1])[setting.place[-1]] = None if held is None else setting.form.write(held)
    return tree


def find(tree: Any, *place: str) -> Any:
    """What is at `place` in a tree, valid or not. None if there is nothing."""
    for name in place:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def rows_of(tree: Any, *place: str) -> list[Any]:
    """The rows at `place` in a tree, valid or not. Empty if there are none."""
    rows = find(tree, *place)
    return rows if isinstance(rows, list) else []


def _block(tree: dict[str, Any], place: Place) -> dict[str, Any]:
    for name in place:
        tree = tree.setdefault(name, {})
    return tree


def full_match(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    """`pattern` of a JSON schema with a strict end: in Python a plain `$` also matches before a trailing newline."""
    if validator.is_type(instance, "string") and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield ValidationError("does not match")


def schema(*kinds: type) -> dict[str, Any]:
    """The JSON schema of a tree with the settings of `kinds`."""
    top: dict[str, Any] = {"type": "object", "properties": {}}
    for kind in kinds:
        _describe(kind, top)
    return top


def _describe(kind: type, top: dict[str, Any]) -> bool:
    """Adds the settings of `kind` to the schema of its block. Returns whether any of them is required."""
    is_any_required = False
    for setting in settings_of(kind):
        above = setting.place[:-1] if setting.block is None else setting.place
        blocks = [*accumulate(above, _schema_below, initial=top)]
        is_required = setting.is_required
        if setting.block is None:
            blocks[-1]["properties"][setting.place[-1]] = _schema_of(setting)
        else:
            is_required &= _describe(setting.block, blocks[-1])
        for block, name in zip(blocks, setting.place, strict=False) if is_required else ():
            block["required"] = [*dict.fromkeys([*block.get("required", []), name])]
        is_any_required |= is_required
    return is_any_required


def _schema_below(block: dict[str, Any], name: str) -> Any:
    """The schema of the block `name` in a block. Where there may be a value as well, these are two forms."""
    is_open = block.get("additionalProperties", name == _BACKSTAGES)
    empty = {"type": "object", "properties": {}, "additionalProperties": is_open}
    there = block["properties"].setdefault(name, empty)
    if not {"properties", "anyOf"} & there.keys():
        there = block["properties"][name] = {"anyOf": [there, empty]}
    return there["anyOf"][-1] if "anyOf" in there else there


def _schema_of(setting: Setting) -> dict[str, Any]:
    kind = setting.form.written
    if setting.row is not None:
        return {"type": "array", "items": schema(setting.row) | {"additionalProperties": False}}
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}  # msgspec sorts them
    found = schema_of_type(kind)
    for note in getattr(kind, "__metadata__", ()):
        found |= note.extra_json_schema or {}
    return found


def _setting(owner: type, field: Field[Any], hint: Any) -> Setting:
    held, notes = _without_notes(hint)
    noted = {type(note): note for note in notes}
    form: Form = noted.get(Form, Form())
    constraints = [note for note in notes if isinstance(note, Meta)]
    written: Any = form.written or (Annotated[(held, *constraints)] if constraints else held)
    row = _row_of(written)
    if is_dataclass(written):
        form = Form(written, partial(read, written, held))
    elif row is not None:
        read_each, write_each = partial(read, row, get_args(held)[0]), partial(write, row)
        form = Form(written, lambda given: tuple(map(read_each, given)), lambda rows: [*map(write_each, rows)])
    elif held is int and Form not in noted:
        form = Form(written, int)  # 1e6 is a whole number, too
    else:
        form = replace(form, written=written)
    name = re.sub("_(.)", lambda found: found[1].upper(), field.name)
    place = noted[At].place if At in noted else f"{getattr(owner, 'BLOCK', '')}.{name}"
    return Setting(field, tuple(filter(None, place.split("."))), form, row, noted.get(Default))


def _row_of(kind: Any) -> Any:
    row = get_args(kind)[0] if get_origin(kind) is tuple else None
    return row if is_dataclass(row) else None


def _without_notes(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type, without None, and all notes."""
    if get_origin(hint) is Annotated:
        held, notes = _without_notes(hint.__origin__)
        return held, (*notes, *hint.__metadata__)
    if NoneType in get_args(hint):
        return _without_notes(Union[tuple(each for each in get_args(hint) if each is not NoneType)])  # noqa: UP007  # the alternatives are known at run time only
    return hint, ()
