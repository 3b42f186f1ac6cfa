"""Writes docs/settings.md from `schema.json`: `python -m settings.page`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
_SCHEMA = Path(__file__).parent / "schema.json"
_HEAD = """# Settings

`app-config.yaml` may be Backstage's own: other keys in it are ignored. Backstage's rules apply: `${VAR}`,
`${VAR:-fallback}`, `$${literal}`, `$env`, `$file`, `$include`, and `APP_CONFIG_liteLLM_baseUrl` in the environment
overrides all files. All problems are reported at once. `litellm-orchestrator config print` shows what is in effect.

This page is made from [`settings/schema.json`](../settings/schema.json) by `python -m settings.page`.

| Setting | Default | Meaning |
| --- | --- | --- |
"""


def page() -> str:
    """The page in Markdown, with a row for each setting."""
    schema = json.loads(_SCHEMA.read_text("utf-8"))
    return _HEAD + "".join(f"| `{path}` | {default} | {meaning} |\n" for path, default, meaning in _rows(schema, ""))


def _rows(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    for form in node.get("oneOf", [node]):
        properties = form.get("items", form).get("properties", {})
        for name, row in properties.items():
            inner = f"{path}.{name}".lstrip(".")
            below = list(_rows(row, inner))
            if "x-default" in row or not below:
                yield inner, row.get("x-default", ""), row["description"]
            yield from below


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
