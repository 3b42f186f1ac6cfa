"""The problems of issuers and rules of workloads: whatever would let in too many, or nobody, and how to mend it.

The claims of the issuers that serve everybody, as their documentation has them in 2026:
https://docs.github.com/en/actions/reference/security/oidc,
https://docs.gitlab.com/ci/secrets/id_token_authentication,
https://cloud.google.com/compute/docs/instances/verifying-instance-identity,
https://buildkite.com/docs/agent/v3/cli-oidc,
https://developer.hashicorp.com/terraform/cloud-docs/workspaces/dynamic-provider-credentials/workload-identity-tokens.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from domain.refs import is_software, is_user, kind_of
from domain.workloads import SEPARATORS, is_trustworthy, name_of
from settings.tree import find, rows_of

_BLOCK = "litellmOrchestrator.workloads"
_URL = "expected an https URL without user, query and fragment; http is for localhost, 127.0.0.x and [::1] only"
_MAX_DEPTH = 5
_PUBLIC_KINDS = ("EC", "OKP", "RSA")
_PRIVATE_PARTS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_ALWAYS_CHECKED = ("iss", "sub", "aud", "exp", "iat", "nbf", "jti")
_DIGITS = re.compile(r"[1-9][0-9]*")


@dataclass(frozen=True)
class _Everybodys:
    """An issuer that signs for everybody. A claim of `pins`, by the names of its keys, tells whose the token is.

    `looks` is what its value looks like, None for an integer, and `example` one. `no_texts` are the claims that are no
    texts in its tokens, None if that is not known. `is_sub_a_pin`: its `sub` is such a number itself.
    """

    name: str
    pins: Collection[str]
    looks: re.Pattern[str] | None
    example: str
    no_texts: Collection[str] | None
    is_sub_a_pin: bool = False


_EVERYBODYS = {
    "token.actions.githubusercontent.com": _Everybodys(
        "GitHub", ("repository_owner_id", "repository_id", "enterprise_id"), _DIGITS, '"123456"', ()
    ),
    "gitlab.com": _Everybodys("GitLab.com", ("namespace_id", "project_id"), _DIGITS, '"123456"', ("runner_id",)),
    "accounts.google.com": _Everybodys(
        "Google", ("google/compute_engine/project_number",), None, "123456", None, is_sub_a_pin=True
    ),
    "agent.buildkite.com": _Everybodys(
        "Buildkite",
        ("organization_id", "pipeline_id"),
        re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        "01234567-89ab-4def-8123-456789abcdef",
        ("build_number",),
    ),
    "app.terraform.io": _Everybodys(
        "HCP Terraform",
        ("terraform_organization_id", "terraform_workspace_id", "terraform_project_id"),
        re.compile(r"(org|prj|ws)-[A-Za-z0-9]+"),
        "org-GRNbCjYNpBB6NEH9",
        (),
    ),
}


def problems_of_workloads(ours: Any) -> Iterator[str]:
    """One sentence for each problem of `litellmOrchestrator.workloads` that the schema does not find."""
    issuers, rules = rows_of(ours, "workloads", "issuers"), rows_of(ours, "workloads", "rules")
    yield from _names_twice("issuers", issuers)
    yield from _names_twice("rules", rules)
    urls = {}
    for number, issuer in enumerate(issuers):
        if isinstance(issuer, dict):
            yield from _problems_of_issuer(f"{_BLOCK}.issuers[{number}]", issuer)
            urls[str(issuer.get("name"))] = str(issuer.get("url"))
    kinds = [find(entry, "kind") for entry in rows_of(ours, "owners")]
    for number, rule in enumerate(rules):
        if isinstance(rule, dict):
            here = f"{_BLOCK}.rules[{number}]"
            yield from _problems_of_owner(here, rule.get("owner"), kinds)
            url = urls.get(str(rule.get("issuer")))
            if url is None and isinstance(rule.get("issuer"), str):
                yield f"{here}.issuer: there is no issuer of this name; add it to {_BLOCK}.issuers, or correct the name"
            yield from _problems_of_match(f"{here}.match", rule.get("match"), url or "")


def _names_twice(block: str, rows: list[Any]) -> Iterator[str]:
    seen: set[str] = set()
    for number, row in enumerate(rows):
        name = find(row, "name")
        if isinstance(name, str) and name in seen:
            yield f"{_BLOCK}.{block}[{number}].name: another one has this name; give each a name of its own"
        seen.add(str(name))


def _problems_of_issuer(here: str, issuer: Mapping[str, Any]) -> Iterator[str]:
    url = issuer.get("url")
    if isinstance(url, str) and url and ("?" in url or "#" in url or not is_trustworthy(url)):
        yield f"{here}.url: {_URL}"
    jwks = issuer.get("jwks", "discovery")
    if isinstance(jwks, dict) and jwks.keys() == {"url"}:
        if not isinstance(jwks["url"], str) or "#" in jwks["url"] or not is_trustworthy(jwks["url"]):
            yield f"{here}.jwks.url: {_URL.replace(', query', '')}"
    elif isinstance(jwks, dict) and jwks.keys() == {"inline"}:
        yield from _problems_of_keys(f"{here}.jwks.inline", jwks["inline"])
    elif jwks != "discovery":
        yield f"{here}.jwks: expected discovery, {{url: https://…}} or {{inline: {{keys: […]}}}}"


def _problems_of_keys(here: str, inline: Any) -> Iterator[str]:
    keys = rows_of(inline, "keys")
    if not keys:
        yield f"{here}: expected a JSON Web Key Set: {{keys: […]}} with at least one key"
    for number, key in enumerate(keys):
        if not isinstance(key, dict) or key.get("kty") not in _PUBLIC_KINDS or not isinstance(key.get("kid"), str):
            yield f"{here}.keys[{number}]: expected a public key with a kid, and a kty of {', '.join(_PUBLIC_KINDS)}"
        elif private := [part for part in _PRIVATE_PARTS if part in key]:
            parts = ", ".join(private)
            yield f"{here}.keys[{number}]: remove {parts}, which is private, and replace the key"


def _problems_of_owner(here: str, owner: Any, kinds: Collection[Any]) -> Iterator[str]:
    if not isinstance(owner, str):
        return
    if not (is_user(owner) or is_software(owner)):
        yield f"{here}.owner: expected the entity ref of a user, group or component, like component:default/shop"
    elif is_software(owner) and kind_of(owner) not in kinds:
        kind = kind_of(owner)
        yield f"{here}.owner: add an entry of kind {kind} to litellmOrchestrator.owners: without it no {kind} has keys"


def _problems_of_match(here: str, match: Any, url: str) -> Iterator[str]:
    sub, claims = find(match, "sub"), find(match, "claims")
    if match is None or (isinstance(match, dict) and sub is None and not claims):
        yield f"{here}: give it a sub or claims: a rule that compares nothing matches nothing"
    if isinstance(sub, str) and "*" in sub:
        if sub.find("*") != len(sub) - 1:
            yield f"{here}.sub: expected at most one *, at the end"
        elif not sub[:-1].endswith(SEPARATORS):
            yield f"{here}.sub: expected a : or / right before the *: without it, names that only begin alike match too"
    leaves = dict(_leaves(claims, ()))
    for path, value in leaves.items():
        yield from _problems_of_claim(f"{here}.claims", path, value)
    everybodys = _EVERYBODYS.get((urlsplit(url).hostname or "") if is_trustworthy(url) else "")
    if everybodys is not None and (leaves or sub is not None):
        yield from _problems_of_tenant(here, everybodys, sub, {name_of(path): value for path, value in leaves.items()})


def _leaves(given: Any, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in given.items() if isinstance(given, dict) else ():
        path = (*above, str(key))
        if isinstance(value, dict) and value and len(path) <= _MAX_DEPTH:
            yield from _leaves(value, path)
        else:
            yield path, value


def _problems_of_claim(here: str, path: tuple[str, ...], value: Any) -> Iterator[str]:
    if path[0] in _ALWAYS_CHECKED:
        yield f"{here}.{path[0]}: remove it: it is checked of every token" + (", by match.sub" * (path[0] == "sub"))
    elif not isinstance(value, str | int):
        yield f"{here}.{'.'.join(path)}: expected a text, a whole number, true or false, or a mapping of these"


def _problems_of_tenant(here: str, issuer: _Everybodys, sub: Any, claims: Mapping[str, Any]) -> Iterator[str]:
    is_pinned = issuer.is_sub_a_pin and isinstance(sub, str) and _DIGITS.fullmatch(sub) is not None
    for name, value in claims.items():
        place = f"{here}.claims.{name.replace('/', '.')}"
        if issuer.no_texts is not None and name not in issuer.no_texts and isinstance(value, int):
            yield f"{place}: write it in quotes: in {issuer.name}'s tokens it is a text"
        elif name in issuer.pins and not _looks_right(issuer, value):
            yield f"{place}: expected the one that {issuer.name} gave you, which looks like {issuer.example}"
        is_pinned |= name in issuer.pins
    if not is_pinned:
        pins = " or ".join([*(["a sub that is a number"] if issuer.is_sub_a_pin else []), *issuer.pins])
        yield (
            f"{here}: {issuer.name} signs for everybody, and names can be taken over: add what says that the token is "
            f"yours ({pins}), which looks like {issuer.example}"
        )


def _looks_right(issuer: _Everybodys, value: Any) -> bool:
    if issuer.looks is None:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, str) and issuer.looks.fullmatch(value) is not None
