"""Stand-ins that begin with people, users and keys from a file, for consumers' own tests. `docs/mock.yaml` is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from clients.litellm.rows import annotated
from domain.keys import KeyAnnotations
from domain.refs import is_user
from standalone.backstage import BackstageStandIn
from standalone.catalog import ADMINS, MEMBERS, Org
from standalone.litellm import LiteLLMStandIn
from standalone.litellm_models import TWO_MODELS
from standalone.litellm_rows import Rows, UnsupportedDurationError
from standalone.litellm_usage import Row

_SCHEMA = Path(__file__).parent / "seed.json"
_MODEL = TWO_MODELS[0]["model_name"]
_GROUPS = {"member": {MEMBERS}, "admin": {ADMINS}, "none": set[str]()}
_LIMITS = {
    "maxBudget": "max_budget",
    "budgetDuration": "budget_duration",
    "models": "models",
    "tpmLimit": "tpm_limit",
    "rpmLimit": "rpm_limit",
}


class SeedError(Exception):
    """What is wrong with a seed, in a sentence."""


def seeded_stand_ins(path: Path) -> tuple[LiteLLMStandIn, BackstageStandIn]:
    """Stand-ins with what the YAML file `path` says. Raises SeedError."""
    seed = _read(path)
    litellm = LiteLLMStandIn()
    for user in seed.get("users", []):
        _add_user(litellm.rows, user)
    return litellm, BackstageStandIn(org=_org(seed["people"]) if "people" in seed else None)


def _read(path: Path) -> dict[str, Any]:
    try:
        seed = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SeedError(f"{path} cannot be read: {type(error).__name__}") from error
    except yaml.YAMLError as error:
        raise SeedError(f"{path} is not YAML: {str(error).splitlines()[0]}") from error
    schema = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    for problem in Draft202012Validator(schema).iter_errors(seed):
        where = ".".join(map(str, problem.absolute_path)) or "the file"
        raise SeedError(f"{path}: {where}: {problem.message}")
    return dict(seed)


def _org(people: dict[str, Any]) -> Org:
    if wrong := [ref for ref in people if not is_user(ref)]:
        raise SeedError(f"people.{wrong[0]} is not a user ref such as user:default/alice")
    profiles = {
        ref.lower(): {name: person[name] for name in ("displayName", "email") if name in person}
        for ref, person in people.items()
    }
    users = {ref.lower(): set(_GROUPS[person["role"]]) for ref, person in people.items()}
    return Org(users=users, names={}, profiles={ref: profile for ref, profile in profiles.items() if profile})


def _add_user(rows: Rows, user: dict[str, Any]) -> None:
    user_id = user["userId"].lower()
    try:
        row = rows.add_user(_limits(user) | {"user_id": user_id})
        for key in user.get("keys", []):
            annotations = KeyAnnotations(key.get("alias"), key.get("metadata", {}))
            asked = {"user_id": user_id, "key": key.get("secret"), "metadata": annotated(annotations, {})}
            others = {"blocked": key.get("blocked")}
            life = {"duration": f"{key['expiresIn']}s"} if "expiresIn" in key else {}
            added, _ = rows.add_key(_limits(key) | asked | others | life | {"key_type": "llm_api"})
            if spend := key.get("spend"):
                rows.count_call(added, added["models"][0] if added["models"] else _MODEL, spend)
        row["spend"] = user.get("spend", row["spend"])
    except UnsupportedDurationError as error:
        raise SeedError(f"The budgetDuration {error} of {user_id} is not one of LiteLLM's, such as 30d") from error


def _limits(fields: dict[str, Any]) -> Row:
    return {column: fields[name] for name, column in _LIMITS.items() if name in fields}
