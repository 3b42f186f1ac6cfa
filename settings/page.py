"""Writes docs/settings.md from `settings/model.py`: `python -m settings.page`."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from settings.model import FIRST, OtherForms, Settings
from settings.tree import Place, Setting, settings_of

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
_HEAD = """# Settings

`app-config.yaml` may be Backstage's own: other keys in it are ignored. Backstage's rules apply: `${VAR}`,
`${VAR:-fallback}`, `$${literal}`, `$env`, `$file`, `$include`, and `APP_CONFIG_liteLLM_baseUrl` in the environment
overrides all files. All problems are reported at once. `litellm-orchestrator config print` shows what is in effect.

This page is made from [`settings/model.py`](../settings/model.py) by `python -m settings.page`.

| Setting | Default | Meaning |
| --- | --- | --- |
"""


def page() -> str:
    """The page in Markdown, with a row for each setting, block by block."""
    rows = [row for kind in (OtherForms, Settings) for row in _rows(kind)]
    seen = {place: number for number, place in enumerate([("liteLLM",), *(("liteLLM", name) for name in FIRST)])}
    for place, _, _ in rows:
        for end in range(1, len(place) + 1):
            seen.setdefault(place[:end], len(seen))
    rows.sort(key=lambda row: [seen[row[0][:end]] for end in range(1, len(row[0]) + 1)])
    return _HEAD + "".join(f"| `{'.'.join(place)}` | {default} | {meaning} |\n" for place, default, meaning in rows)


def _rows(kind: type, place: Place = (), *, is_required: bool = True) -> Iterator[tuple[Place, str, str]]:
    for setting in settings_of(kind):
        here, name = (*place, *setting.place), setting.field.name
        is_needed = is_required and setting.is_required
        if setting.block is not None:
            yield from _rows(setting.block, here, is_required=is_needed)
        elif setting.row is not None:
            yield from _rows(setting.row, here, is_required=False)
        elif name not in kind.__annotations__:
            yield here, "likewise", "As there."
        else:
            yield here, "required" if is_needed else _default(setting), _meanings(kind)[name]


@cache
def _meanings(kind: type) -> dict[str, str]:
    """What stands below each field of a dataclass. Python itself does not keep it."""
    [definition] = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: " ".join(below.value.value.split())
        for field, below in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }


def _default(setting: Setting) -> str:
    if setting.default is not None:
        return setting.default.words
    if setting.is_required:
        return ""
    default = setting.form.write(setting.field.default)
    values = default if isinstance(default, list) else [] if default is None else [default]
    return ", ".join(f"`{_json(value)}`" for value in values) or "none"


def _json(value: Any) -> str:
    return json.dumps(value).strip('"').removesuffix(".0")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
