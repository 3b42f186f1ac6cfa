"""YAML 1.2 by its core schema, which Backstage reads: `on` is a text there, and every name in a mapping.

PyYAML reads YAML 1.1, where `on` is true, `010` is 8 and `1:30` is 90. https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_CORE = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}
"""The forms of plain scalars, by what they mean; the first that matches counts."""


def load(text: str) -> Any:
    """The value of the one document in `text`, None if it is empty. Raises yaml.YAMLError."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # a safe loader
    except (ValueError, LookupError):  # with the value, which may be a secret
        raise yaml.YAMLError("a value does not fit its tag") from None


def dump(value: Any) -> str:
    """A document that `load`, and readers of YAML 1.1, read as `value`: a text that either takes for more is quoted."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002  # PyYAML's
        if not isinstance(node, yaml.MappingNode):
            raise _error("expected a mapping", node)
        mapping: dict[Hashable, Any] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise _error("a name is a mapping or a list", name)
            if name.value in mapping:
                raise _error("a name stands twice", name)
            mapping[name.value] = self.construct_object(value, deep=deep)
        return mapping

    def construct_int(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node)
        return int(text, 0) if text.startswith(("0o", "0x")) else int(text)


class _Dumper(yaml.SafeDumper):
    pass


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


for _name, _form in _CORE.items():
    for _side in (_Loader, _Dumper):
        _side.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_form})\Z"), None)
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_int)
for _name in ("timestamp", "binary", "set", "omap", "pairs"):
    del _Loader.yaml_constructors[f"{_TAG}{_name}"]
