"""The models that LiteLLM serves, and what a list of names allows.

Lists of names limit tiers, users and keys. What each name in them allows is measured on LiteLLM 1.104.5;
`tests/conformance/test_litellm_models.py` asks the real one again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

ALL_MODELS = "all-proxy-models"
"""LiteLLM's name for every model."""
NO_MODELS = "no-default-models"
"""In the list of a user, LiteLLM allows nothing, whatever else the list names."""

_REGEX = re.compile(r"[\\^$+?{}\[\]()|]")
_WILDCARD = re.compile(r"[^*\\^$+?{}\[\]()|]*\*[^*\\^$+?{}\[\]()|]*\*?")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model by the name that callers send.

    `groups` are the access groups that it is in. `context_window` is in tokens, prices are in USD per million tokens;
    None means that LiteLLM does not say. `own_name` is the name that a
    wildcard for a provider (`openai/*`) matches too, where LiteLLM knows `id` as a model of that provider.
    """

    id: str
    groups: tuple[str, ...] = ()
    provider: str | None = None
    context_window: int | None = None
    input_price: float | None = None
    output_price: float | None = None
    own_name: str | None = None


@dataclass(frozen=True, slots=True)
class ServedModels:
    """What one LiteLLM serves: models sorted by id, and the wildcards (`bedrock/*`) for which it serves any name.

    `groups` are the access groups, sorted: a group of a wildcard has no model of its own.
    """

    models: tuple[ServedModel, ...] = ()
    wildcards: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def reached(self, names: Collection[str]) -> list[ServedModel]:
        """The models that a user with the list `names` may call."""
        return [model for model in self.models if allows(names, model)]

    def unknown(self, names: Collection[str]) -> list[str]:
        """Those of `names` that are neither served nor an access group nor a wildcard, sorted."""
        known = {model.id for model in self.models} | set(self.groups)
        return sorted(
            name
            for name in set(names) - known
            if not is_wildcard(name) and not any(_matches(wildcard, name) for wildcard in self.wildcards)
        )

    def exceeding(self, names: Collection[str], limit: Sequence[str]) -> list[str]:
        """Those of `names` that allow more than the list `limit` does, sorted."""
        return sorted(name for name in names if not all(allows(limit, model) for model in self._named(name)))

    def _named(self, name: str) -> list[ServedModel]:
        """The served model or the members of the group; else a model of that name, so wildcards compare as texts."""
        return [model for model in self.models if name == model.id or name in model.groups] or [ServedModel(name)]


def allows(names: Collection[str], model: ServedModel) -> bool:
    """Whether a user with the list `names` may call `model`. An empty list allows all models.

    A name allows the model, or the models of the access group, of exactly that name. A wildcard does not match the
    names of access groups. `all-team-models` allows nothing to a user.
    """
    if NO_MODELS in names:
        return False
    if not names or ALL_MODELS in names or model.id in names or not set(names).isdisjoint(model.groups):
        return True
    own_names = [model.id] if model.own_name is None else [model.id, model.own_name]
    return any(_matches(name, own_name) for name in names if "*" in name for own_name in own_names)


def is_wildcard(name: str) -> bool:
    """Whether `name` is a wildcard that a caller may use: one `*`, and perhaps another at its end.

    LiteLLM makes a regular expression of it. So what has a meaning there is refused: `[*` would stop every call of its
    user, and several `*` take LiteLLM very long to compare with a long name.
    """
    return _WILDCARD.fullmatch(name) is not None


def _matches(wildcard: str, name: str) -> bool:
    """Whether LiteLLM's regular expression of `wildcard` matches. `.` matches any character in it.

    A wildcard that is more of an expression than that matches nothing here, though it may there.
    """
    return not _REGEX.search(wildcard) and fnmatchcase(name, wildcard.replace(".", "?"))
