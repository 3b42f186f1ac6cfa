"""Reads Backstage's `app-config.yaml` by Backstage's own rules, so that one file serves both.

The rules, from https://backstage.io/docs/conf/writing/ and the behaviour of `@backstage/config-loader`:

- files are merged in order: objects deeply, other values are replaced by the later file;
- `${VAR}` and `${VAR:-fallback}` are substituted, `$${VAR}` is a literal `${VAR}`; a value with an unset variable
  is absent;
- `{$env: VAR}`, `{$file: path}` and `{$include: path#dotted.key}` are replaced by what they name; paths are relative
  to the file that contains them;
- `APP_CONFIG_a_b=value` sets `a.b` and overrides all files; the value is JSON, or else a string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from settings import yaml_core

ENV_PREFIX = "APP_CONFIG_"
_INCLUDE_KEYS = frozenset({"$file", "$env", "$include"})
_SUBSTITUTION = re.compile(r"(\$?\$\{[^{}]*\})")
_ENV_KEY_PART = re.compile(r"[a-z][a-z0-9]*(?:[-_:][a-z0-9]+)*", re.IGNORECASE)
_ABSENT: Any = object()


class AppConfigError(Exception):
    """A file cannot be read, or an instruction in it cannot be followed. The message is for an operator."""


def load(paths: Sequence[Path], environment: Mapping[str, str]) -> dict[str, Any]:
    """Merges `paths` and the `APP_CONFIG_*` variables of `environment` into one tree.

    Raises AppConfigError naming the file or variable at fault.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        try:
            tree = _Transform(environment).apply(_read_yaml(path), path.parent, path.name)
        except AppConfigError as error:
            raise AppConfigError(f"{path}: {error}") from error
        except RecursionError as error:
            raise AppConfigError(f"{path}: contains or includes itself, or is nested too deeply") from error
        if tree is None or tree is _ABSENT:
            continue
        if not isinstance(tree, dict):
            raise AppConfigError(f"{path}: expected a mapping at the top level")
        merged = _merged(merged, tree)
    return _merged(merged, _environment_overrides(environment))


def _read_yaml(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise AppConfigError(f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise AppConfigError("is not UTF-8") from error
    return _parsed(text)


def _parsed(text: str) -> Any:
    try:
        return yaml_core.load(text)
    except yaml.MarkedYAMLError as error:
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise AppConfigError(f"is not YAML{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise AppConfigError(f"is not YAML: {str(error).partition(chr(10))[0]}") from error


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {key for key in below.keys() & above.keys() if isinstance(below[key], dict) and isinstance(above[key], dict)}
    return below | above | {key: _merged(below[key], above[key]) for key in both}


def _environment_overrides(environment: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, text in sorted(environment.items()):
        if not name.startswith(ENV_PREFIX) or not text:
            continue
        parts = name.removeprefix(ENV_PREFIX).split("_")
        if not all(_ENV_KEY_PART.fullmatch(part) for part in parts):
            raise AppConfigError(f"{name}: not a settings path; write it as {ENV_PREFIX}backend_baseUrl")
        node = tree
        for part in parts[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise AppConfigError(f"{name}: {part} is set to a value by another variable")
        if parts[-1] in node:
            raise AppConfigError(f"{name}: the same setting is given by another variable")
        node[parts[-1]] = _json_or_text(text)
    return tree


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class _Transform:
    """Applies substitutions and includes to a tree. `environment` has the variables."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def apply(self, node: Any, folder: Path, where: str) -> Any:
        """`node` with all substitutions and includes applied, or _ABSENT. `where` names it in errors."""
        if isinstance(node, str):
            return self._substitute(node)
        if isinstance(node, list):
            items = [self.apply(item, folder, f"{where}[{index}]") for index, item in enumerate(node)]
            return [item for item in items if item is not _ABSENT]
        if not isinstance(node, dict):
            return node
        if _INCLUDE_KEYS & node.keys():
            return self._include(node, folder, where)
        applied = {key: self.apply(value, folder, f"{where}.{key}") for key, value in node.items()}
        return {key: value for key, value in applied.items() if value is not _ABSENT}

    def _substitute(self, text: str) -> Any:
        parts = _SUBSTITUTION.split(text)
        for index in range(1, len(parts), 2):
            part = parts[index]
            if part.startswith("$$"):
                parts[index] = part[1:]
                continue
            name, separator, fallback = part[2:-1].partition(":-")
            value = self._variable(name.strip())
            if separator:
                value = value or fallback.strip() or None
            if value is None:
                return _ABSENT
            parts[index] = value
        return "".join(parts)

    def _variable(self, name: str) -> str | None:
        value = self._environment.get(name)
        return None if value is None else value.strip()

    def _include(self, node: dict[Any, Any], folder: Path, where: str) -> Any:
        key = next(key for key in node if key in _INCLUDE_KEYS)
        if len(node) != 1:
            raise AppConfigError(f"{where}: {key} must be the only key")
        target = self._substitute(node[key]) if isinstance(node[key], str) else _ABSENT
        if target is _ABSENT:
            raise AppConfigError(f"{where}: {key} must be a string whose variables are all set")
        if key == "$env":
            value = self._variable(target)
            return _ABSENT if value is None else value
        if key == "$file":
            return self._read(folder / target, where).rstrip()
        return self._include_tree(target, folder, where)

    def _include_tree(self, target: str, folder: Path, where: str) -> Any:
        name, _, dotted = target.partition("#")
        path = folder / name
        if path.suffix not in {".json", ".yaml", ".yml"}:
            raise AppConfigError(f"{where}: $include reads .json, .yaml and .yml files only")
        text = self._read(path, where)
        try:
            tree = json.loads(text) if path.suffix == ".json" else _parsed(text)
        except json.JSONDecodeError as error:
            raise AppConfigError(f"{where}: {name} is not JSON: {error.msg} at line {error.lineno}") from error
        for part in dotted.split(".") if dotted else []:
            if not isinstance(tree, dict) or part not in tree:
                raise AppConfigError(f"{where}: {name} has no {dotted}")
            tree = tree[part]
        return self.apply(tree, path.parent, where)

    @staticmethod
    def _read(path: Path, where: str) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:  # a path with a null character, or no UTF-8
            raise AppConfigError(f"{where}: {path} cannot be read") from error
