"""Entity refs of Backstage, `<kind>:<namespace>/<name>`: the one place that parses ids and brings them to one spelling.

Backstage compares refs without regard to case, by their lower case
(`stringifyEntityRef` in `@backstage/catalog-model`), and so does this service: lower-cased, never case-folded or
normalised, because `ß` and `ss` are two people. Within this service ids are texts in that spelling. LiteLLM compares
ids to the letter, so what it calls a user is sent back to it as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

from domain.errors import InputError

_NAMESPACE = re.compile(r"[A-Za-z0-9-]{1,63}")
# Any script. A comma separates ids in LiteLLM's queries. U+FEFF is white space in Backstage's language.
_NAME = re.compile(r"(?!\.{1,2}\Z)[^/,\s\x00-\x1f\x7f-\x9f\ufeff\ud800-\udfff]{1,254}")
_UNASSIGNED = "Cn"
SOFTWARE = ("component", "group")
"""The kinds of owners that are no people."""


@dataclass(frozen=True, slots=True)
class EntityRef:
    """A ref in lower case."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, ref: str, *, kind: str = "", namespace: str = "") -> EntityRef:
        """The parts of `ref`, which may lack `kind` and `namespace`, as in Backstage's settings. Checks nothing."""
        given = _parts(ref)
        return cls(canonical(given[0]) or kind, canonical(given[1]) or namespace, canonical(given[2]))


def canonical(ref: str) -> str:
    """`ref` in the spelling by which refs are compared. For anything that has the place of a ref, also a service."""
    return ref.lower()


def is_user(ref: str) -> bool:
    """Whether `ref`, in any case, is that of a Backstage user, as some sign-in resolver may issue it."""
    return _is_one_of(("user",), ref)


def is_software(ref: str) -> bool:
    """Whether `ref`, in any case, is that of a group or a component, for whose software keys are."""
    return _is_one_of(SOFTWARE, ref)


def kind_of(ref: str) -> str:
    """The kind of a full ref, in lower case."""
    return canonical(ref.partition(":")[0])


def owner_id(ref: str, name: str = "userId") -> str:
    """The id of an owner of keys from what a caller sent as `name`. Raises InputError."""
    if not (is_user(ref) or is_software(ref)):
        raise InputError(f"{name} must be the entity ref of a user, group or component, like user:default/alice")
    return canonical(ref)


def _is_one_of(kinds: Collection[str], ref: str) -> bool:
    kind, namespace, name = _parts(ref)
    return canonical(kind) in kinds and bool(_NAMESPACE.fullmatch(namespace)) and _is_name(name)


def _is_name(name: str) -> bool:
    """Whether its lower case is a name too, today and in a later version of Unicode: then it is nobody else's."""
    lower = canonical(name)
    if not (_NAME.fullmatch(name) and _NAME.fullmatch(lower) and canonical(lower) == lower):
        return False
    return name.isascii() or all(unicodedata.category(character) != _UNASSIGNED for character in name)


def _parts(ref: str) -> tuple[str, str, str]:
    """Kind, namespace and name, each as it is. A colon after the slash belongs to the name (`parseEntityRef`)."""
    kind, colon, rest = ref.partition(":")
    if not colon or "/" in kind:
        kind, rest = "", ref
    namespace, slash, name = rest.partition("/")
    return (kind, namespace, name) if slash else (kind, "", rest)
