"""Issuers and rules of workloads: what is bad is found when settings are read, all at once, with how to mend it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from domain.workloads import KeySource, KeyTerms, Match, Rule, is_trustworthy
from settings.model import Issuer, WorkloadSettings
from settings.parse import SettingsError, from_app_config
from settings.written import masked, to_app_config

HERE = "litellmOrchestrator.workloads"
GITHUB, GITLAB, GOOGLE = (
    "https://token.actions.githubusercontent.com",
    "https://gitlab.com",
    "https://accounts.google.com",
)
BUILDKITE, TERRAFORM, CLUSTER = "https://agent.buildkite.com", "https://app.terraform.io", "https://cluster.example.com"
LIKE_BUILDKITES, LIKE_TERRAFORMS = "01234567-89ab-4def-8123-456789abcdef", "org-GRNbCjYNpBB6NEH9"
UUID = "f02d6a6f-7a0e-481d-9d6d-89b427aec48d"
URL = "expected an https URL without user, query and fragment; http is for localhost, 127.0.0.x and [::1] only"
ADDRESS = "expected an https URL without user and fragment; http is for localhost, 127.0.0.x and [::1] only"
FORMS = "expected discovery, {url: https://…} or {inline: {keys: […]}}"
PUBLIC_KEY = {"kty": "EC", "crv": "P-256", "kid": "k", "x": "AA", "y": "AA"}
KEY_SET = {"keys": [PUBLIC_KEY]}
NO_KEY_SETS: tuple[Any, ...] = ({}, {"keys": []}, {"keys": {}}, [PUBLIC_KEY], "x", None)
NO_PUBLIC_KEYS: tuple[Any, ...] = (
    5,
    {},
    PUBLIC_KEY | {"kid": 5},
    {"kty": "oct", "kid": "k", "k": "AA"},
    PUBLIC_KEY | {"kty": None},
)
ISSUER = {"name": "ci", "url": CLUSTER, "audience": "llm"}
RULE = {"name": "build", "issuer": "ci", "owner": "component:default/shop", "match": {"sub": "repo:acme/shop:*"}}


def config(issuers: Any, rules: Any, **ours: Any) -> dict[str, Any]:
    """An `app-config.yaml` with these workloads, in which components have keys."""
    usual = {
        "backstage": {"catalogToken": "catalog-token"},
        "owners": [{"kind": "component", "filter": {"spec.type": "service"}}],
    }
    return {
        "liteLLM": {"baseUrl": "http://litellm", "masterKey": "sk-x", "adminGroup": "a", "allowedGroup": "b"},
        "backend": {"baseUrl": "http://backstage"},
        "litellmOrchestrator": usual | ours | {"workloads": {"issuers": issuers, "rules": rules}},
    }


def problems(issuers: Any, rules: Any, **ours: Any) -> list[str]:
    """All of them, without the name of the block that they begin with; none if the settings are valid."""
    return [problem.removeprefix(f"{HERE}.") for problem in problems_of(config(issuers, rules, **ours))]


def problems_of(tree: dict[str, Any]) -> list[str]:
    try:
        from_app_config(tree)
    except SettingsError as error:
        return error.problems
    return []


def of_rule(match: Any, url: str = CLUSTER, **changes: Any) -> list[str]:
    """Those of a rule with this match, for the issuer at `url`."""
    return [
        problem.removeprefix("rules[0].")
        for problem in problems([ISSUER | {"url": url}], [RULE | {"match": match} | changes])
    ]


def test_everything_that_may_be_said() -> None:
    """It is read into what the rest of the service uses, and written as it was."""
    key = {"life": 600, "models": ["gpt-5"], "maxBudget": 0.5, "tpmLimit": 1000, "rpmLimit": 10}
    claims = {"kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "builder"}}, "attempt": 1, "ok": True}
    issuers = [
        ISSUER | {"jwks": {"url": "https://keys.example.com/jwks?v=2"}, "maxTokenLife": 86400, "caFile": "/ca.crt"},
        {"name": "air.gapped_1", "url": "http://127.0.0.1:9", "audience": "llm", "jwks": {"inline": KEY_SET}},
        {"name": "plain", "url": CLUSTER, "audience": "llm", "jwks": "discovery"},
    ]  # fmt: skip
    rule = RULE | {"owner": "Component:Default/Shop", "match": {"sub": "repo:acme/*", "claims": claims}, "key": key}
    read = from_app_config(config(issuers, [rule | {"perMinute": 5, "maxLiving": 7}]))
    assert read.workloads == WorkloadSettings(
        (
            Issuer("ci", CLUSTER, "llm", KeySource(url="https://keys.example.com/jwks?v=2"), 86400, "/ca.crt"),
            Issuer("air.gapped_1", "http://127.0.0.1:9", "llm", KeySource(inline=KEY_SET)),
            Issuer("plain", CLUSTER, "llm"),
        ),
        (
            Rule(
                "build",
                "ci",
                "component:default/shop",
                Match(
                    "repo:acme/*",
                    (
                        (("kubernetes.io", "namespace"), "ci"),
                        (("kubernetes.io", "serviceaccount", "name"), "builder"),
                        (("attempt",), 1),
                        (("ok",), True),
                    ),
                ),
                KeyTerms(600, ("gpt-5",), 0.5, 1000, 10),
                5,
                7,
            ),
        ),
    )
    written = json.loads(json.dumps(to_app_config(masked(read))))
    assert from_app_config(written).workloads == read.workloads


ODD: tuple[Any, ...] = (None, True, -1, 1e300, "", "\0", [], {}, [None], [["x"]], [{}], {"": ""}, {"x": []})


def _places(tree: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree if isinstance(tree, list) else ()):
        yield (*above, name)
        yield from _places(value, (*above, name))


def test_no_value_anywhere_is_more_than_a_problem() -> None:
    """A sentence says what is wrong, whatever stands where; or else it is allowed."""
    key = {"life": 600, "models": ["gpt-5"], "maxBudget": 0.5}
    match = {"sub": "repo:acme/*", "claims": {"repository_id": "1", "kubernetes.io": {"namespace": "ci"}}}
    issuers = [ISSUER | {"jwks": {"inline": KEY_SET}}, ISSUER | {"name": "gh", "url": GITHUB, "jwks": {"url": CLUSTER}}]
    cli = {"keyLife": "8h", "sessionLife": "90d"}
    tree = config(issuers, [RULE | {"match": match, "key": key}], cli=cli, trustedProxies=["10.0.0.0/8"])
    places = [*_places(tree)]
    for place in places:
        for odd in ODD:
            changed = json.loads(json.dumps(tree))
            block = changed
            for name in place[:-1]:
                block = block[name]
            block[place[-1]] = odd
            assert all(": " in problem for problem in problems_of(changed)), (place, odd)
    assert (len(places), ("litellmOrchestrator", "owners", 0, "kind") in places) == (57, True)


def test_what_has_a_default() -> None:
    """A quarter of an hour, sixty a minute, a hundred at a time; no workloads at all."""
    read = from_app_config(config([ISSUER], [RULE])).workloads
    assert read.rules == (Rule("build", "ci", "component:default/shop", Match("repo:acme/shop:*")),)
    assert (read.rules[0].key.life, read.rules[0].per_minute, read.rules[0].max_living) == (900, 60, 100)
    assert (read.issuers[0].jwks, read.issuers[0].max_token_life, read.issuers[0].ca_file) == (KeySource(), 3600, None)
    assert from_app_config(config([], [])).workloads == WorkloadSettings()


def test_all_at_once() -> None:
    """Each bad row has its sentence, and no sentence repeats a value."""
    found = problems(
        [ISSUER | {"url": "ftp://canary"}, ISSUER | {"jwks": "canary"}, {"name": "Canary", "url": CLUSTER}],
        [
            RULE | {"name": "canary space", "owner": "canary", "issuer": "canary"},
            RULE | {"match": {}, "key": {"life": 59, "maxBudget": float("inf")}, "perMinute": 0, "maxLiving": 0},
            RULE | {"match": {"sub": "canary*"}},
        ],
    )
    assert {problem.partition(":")[0] for problem in found} == {
        "issuers[0].url",
        "issuers[1].jwks",
        "issuers[1].name",
        "issuers[2].name",
        f"{HERE}.issuers[2].audience".removeprefix(f"{HERE}."),
        "rules[0].issuer",
        "rules[0].name",
        "rules[0].owner",
        "rules[1].key.life",
        "rules[1].key.maxBudget",
        "rules[1].match",
        "rules[1].maxLiving",
        "rules[1].perMinute",
        "rules[2].match.sub",
        "rules[2].name",
    }
    assert "canary" not in "\n".join(found).lower()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"url": "https://issuer.example.com"}, []),
        ({"url": "https://issuer.example.com:8443/a/b-c_d~e/"}, []),
        ({"url": "https://[2001:db8::1]:6443"}, []),
        ({"url": "http://localhost:7090"}, []),
        ({"url": "http://127.0.0.1"}, []),
        ({"url": "http://[::1]:7090/x"}, []),
        ({"url": "http://issuer.example.com"}, [f"url: {URL}"]),
        ({"url": "http://127.0.0.1.example.com"}, [f"url: {URL}"]),
        ({"url": "http://localhost.example.com"}, [f"url: {URL}"]),
        ({"url": "http://localhost@issuer.example.com"}, [f"url: {URL}"]),
        ({"url": "http://10.0.0.1"}, [f"url: {URL}"]),
        ({"url": "https://user:password@issuer.example.com"}, [f"url: {URL}"]),
        ({"url": "https://issuer.example.com?x=1"}, [f"url: {URL}"]),
        ({"url": "https://issuer.example.com/?x=1"}, [f"url: {URL}"]),
        ({"url": "https://issuer.example.com/#x"}, [f"url: {URL}"]),
        ({"url": "https://issuer.example.com/ "}, [f"url: {URL}"]),
        ({"url": "https://issuer.example.com\n"}, [f"url: {URL}"]),
        ({"url": "https://issuer.example.com\\x"}, [f"url: {URL}"]),
        ({"url": "https://issüer.example.com"}, [f"url: {URL}"]),
        ({"url": "HTTPS://issuer.example.com"}, [f"url: {URL}"]),
        ({"url": "issuer.example.com"}, [f"url: {URL}"]),
        ({"url": ""}, ["url: expected at least 1 characters"]),
        ({"url": 5}, ["url: expected string"]),
        ({"audience": ""}, ["audience: expected at least 1 characters"]),
        ({"audience": ["llm"]}, ["audience: expected string"]),
        ({"jwks": "https://issuer.example.com/jwks"}, [f"jwks: {FORMS}"]),
        ({"jwks": {}}, [f"jwks: {FORMS}"]),
        ({"jwks": {"url": "https://x", "inline": {"keys": [PUBLIC_KEY]}}}, [f"jwks: {FORMS}"]),
        ({"jwks": [PUBLIC_KEY]}, [f"jwks: {FORMS}"]),
        ({"jwks": None}, [f"jwks: {FORMS}"]),
        ({"jwks": {"url": "https://keys.example.com/jwks?p=1"}}, []),
        ({"jwks": {"url": "http://keys.example.com/jwks"}}, [f"jwks.url: {ADDRESS}"]),
        ({"jwks": {"url": "https://keys.example.com/jwks#x"}}, [f"jwks.url: {ADDRESS}"]),
        ({"jwks": {"url": "file:///etc/jwks"}}, [f"jwks.url: {ADDRESS}"]),
        ({"jwks": {"url": None}}, [f"jwks.url: {ADDRESS}"]),
        *(({"jwks": {"inline": inline}},
           ["jwks.inline: expected a JSON Web Key Set: {keys: […]} with at least one key"])
          for inline in NO_KEY_SETS),
        *(({"jwks": {"inline": {"keys": [PUBLIC_KEY, key]}}},
           ["jwks.inline.keys[1]: expected a public key with a kid, and a kty of EC, OKP, RSA"])
          for key in NO_PUBLIC_KEYS),
        ({"jwks": {"inline": {"keys": [PUBLIC_KEY | {"d": "canary"}]}}},
         ["jwks.inline.keys[0]: remove d, which is private, and replace the key"]),
        ({"maxTokenLife": 59}, ["maxTokenLife: expected minimum 60"]),
        ({"maxTokenLife": 86401}, ["maxTokenLife: expected maximum 86400"]),
        ({"caFile": ""}, ["caFile: expected at least 1 characters"]),
        ({"name": ""}, ["name: expected a match of ^[a-z0-9][a-z0-9._-]{0,62}$"]),
        ({"name": "-x"}, ["name: expected a match of ^[a-z0-9][a-z0-9._-]{0,62}$"]),
        ({"name": "x" * 64}, ["name: expected a match of ^[a-z0-9][a-z0-9._-]{0,62}$"]),
    ],
)  # fmt: skip
def test_issuers(changes: dict[str, Any], says: list[str]) -> None:
    """What an issuer may be."""
    assert problems([ISSUER | changes], []) == [f"issuers[0].{sentence}" for sentence in says]


def test_names_are_unique() -> None:
    """A workload asks by the name of a rule, and a rule by the name of an issuer."""
    assert problems([ISSUER, ISSUER], [RULE, RULE | {"name": "other"}, RULE]) == [
        "issuers[1].name: another one has this name; give each a name of its own",
        "rules[2].name: another one has this name; give each a name of its own",
    ]


def test_the_issuer_of_a_rule() -> None:
    """It has to be there."""
    says = f"there is no issuer of this name; add it to {HERE}.issuers, or correct the name"
    assert problems([], [RULE]) == [f"rules[0].issuer: {says}"]
    assert problems([ISSUER | {"name": "cd"}], [RULE]) == [f"rules[0].issuer: {says}"]


@pytest.mark.parametrize(
    ("owner", "says"),
    [
        ("user:default/alice", None),
        ("User:Default/Alice", None),
        ("component:default/shop", None),
        ("group:default/team",
         "add an entry of kind group to litellmOrchestrator.owners: without it no group has keys"),
        *((owner, "expected the entity ref of a user, group or component, like component:default/shop")
          for owner in ("shop", "default/shop", "api:default/shop", "component:shop", "component:default/")),
    ],
)  # fmt: skip
def test_the_owner_of_a_rule(owner: str, says: str | None) -> None:
    """A person, or what `owners` gives keys to."""
    assert of_rule(RULE["match"], owner=owner) == ([] if says is None else [f"owner: {says}"])


def test_components_without_owners() -> None:
    """Without entries only people have keys."""
    assert problems([ISSUER], [RULE], owners=[]) == [
        "rules[0].owner: add an entry of kind component to litellmOrchestrator.owners: without it no component has keys"
    ]


EMPTY = "match: give it a sub or claims: a rule that compares nothing matches nothing"
STAR = "match.sub: expected at most one *, at the end"
SEPARATOR = "match.sub: expected a : or / right before the *: without it, names that only begin alike match too"
VALUE = "expected a text, a whole number, true or false, or a mapping of these"


@pytest.mark.parametrize(
    ("match", "says"),
    [
        ({"sub": "system:serviceaccount:ci:builder"}, []),
        ({"sub": "repo:acme/*"}, []),
        ({"sub": "repo:acme/shop:*"}, []),
        ({"claims": {"a": "x", "b": 1, "c": False, "d": {"e": {"f": {"g": ""}}}}}, []),
        ({}, [EMPTY]),
        ({"claims": {}}, [EMPTY]),
        ({"sub": "*"}, [SEPARATOR]),
        ({"sub": "repo:acme*"}, [SEPARATOR]),
        ({"sub": "repo:acme-*"}, [SEPARATOR]),
        ({"sub": "repo:*/shop"}, [STAR]),
        ({"sub": "repo:*:*"}, [STAR]),
        ({"sub": "repo:acme/**"}, [STAR]),
        ({"sub": "*repo:acme/"}, [STAR]),
        ({"sub": ""}, ["match.sub: expected at least 1 characters"]),
        ({"sub": ["repo:acme/shop"]}, ["match.sub: expected string"]),
        ({"sub": "x", "subject": "y"}, ["match: unknown subject; known are claims, sub"]),
        ({"claims": [{"a": "x"}]}, ["match.claims: expected object"]),
        ({"claims": {"a": 1.5}}, [f"match.claims.a: {VALUE}"]),
        ({"claims": {"a": None}}, [f"match.claims.a: {VALUE}"]),
        ({"claims": {"a": ["x"]}}, [f"match.claims.a: {VALUE}"]),
        ({"claims": {"a": {}}}, [f"match.claims.a: {VALUE}"]),
        ({"claims": {"a": {"b": {"c": []}}}}, [f"match.claims.a.b.c: {VALUE}"]),
        ({"claims": {"a": {"b": {"c": {"d": {"e": {"f": {"g": 1}}}}}}}}, [f"match.claims.a.b.c.d.e.f: {VALUE}"]),
        ({"claims": {"sub": "x"}}, ["match.claims.sub: remove it: it is checked of every token, by match.sub"]),
        *(({"claims": {name: "x"}}, [f"match.claims.{name}: remove it: it is checked of every token"])
          for name in ("iss", "aud", "exp", "iat", "nbf", "jti")),
    ],
)  # fmt: skip
def test_what_a_rule_compares(match: Any, says: list[str]) -> None:
    """A `sub`, exactly or up to a `*` after a separator, and claims."""
    assert of_rule(match) == says


def test_a_rule_without_a_match() -> None:
    """It would match nothing, and whoever wrote it thought otherwise."""
    rule = {name: value for name, value in RULE.items() if name != "match"}
    assert problems([ISSUER], [rule]) == [f"rules[0].{EMPTY}"]


def pin(url: str, claims: Any = None, sub: str | None = None) -> list[str]:
    """The problems of a rule of the issuer at `url`."""
    match = {"sub": sub, "claims": claims}
    return of_rule({name: value for name, value in match.items() if value is not None}, url)


@pytest.mark.parametrize(
    ("url", "claims", "sub"),
    [
        (GITHUB, {"repository_owner_id": "65"}, None),
        (GITHUB, {"repository_id": "74"}, "repo:acme/shop:*"),
        (GITHUB, {"enterprise_id": "2"}, None),
        (f"{GITHUB}/acme", {"enterprise_id": "2"}, None),
        (GITLAB, {"namespace_id": "72", "runner_id": 1}, None),
        (GITLAB, {"project_id": "20"}, None),
        (GOOGLE, None, "107517467455664443765"),
        (GOOGLE, {"google": {"compute_engine": {"project_number": 739419398126}}}, None),
        (BUILDKITE, {"organization_id": UUID, "build_number": 1}, None),
        (BUILDKITE, {"pipeline_id": UUID}, None),
        (TERRAFORM, {"terraform_organization_id": "org-GRNbCjYNpBB6NEH9"}, None),
        (TERRAFORM, {"terraform_workspace_id": "ws-mbsd5E3Ktt5Rg2Xm"}, None),
        (TERRAFORM, {"terraform_project_id": "prj-vegSA59s1XPwMr2t"}, None),
        # These have one tenant: whose they are is said by their url.
        ("https://token.actions.acme.ghe.com", None, "repo:acme/*"),
        ("https://github.example.com/_services/token", None, "repo:acme/*"),
        ("https://gitlab.example.com", {"project_id": 20}, None),
        ("https://gitlab.com.example.com", None, "project_path:acme/*"),
        (CLUSTER, None, "system:serviceaccount:ci:*"),
    ],
)
def test_a_tenant_that_is_pinned(url: str, claims: Any, sub: str | None) -> None:
    """By its number, on the issuers that sign for everybody."""
    assert pin(url, claims, sub) == []


@pytest.mark.parametrize(
    ("url", "name", "claims", "sub"),
    [
        (GITHUB, "GitHub", None, "repo:acme/shop:ref:refs/heads/main"),
        (GITHUB, "GitHub", {"repository": "acme/shop"}, "repo:acme/*"),
        (GITHUB, "GitHub", None, "repo:acme@65/shop@74:*"),
        (GITHUB, "GitHub", {"x": {"repository_id": "74"}}, None),
        (f"{GITHUB}/acme", "GitHub", {"enterprise": "acme"}, None),
        (f"{GITHUB}:443/", "GitHub", None, "repo:acme/*"),
        (GITLAB, "GitLab.com", {"namespace_path": "acme"}, "project_path:acme/*"),
        (GOOGLE, "Google", {"email": "ci@acme.iam.gserviceaccount.com", "email_verified": True}, None),
        (GOOGLE, "Google", {"google": {"compute_engine": {"project_id": "acme"}}}, None),
        (GOOGLE, "Google", None, "1075/*"),
        (GOOGLE, "Google", None, "0107517467455664443765"),
        (BUILDKITE, "Buildkite", {"organization_slug": "acme"}, "organization:acme:*"),
        (TERRAFORM, "HCP Terraform", {"terraform_organization_name": "acme"}, "organization:acme:*"),
    ],
)
def test_a_tenant_that_is_not_pinned(url: str, name: str, claims: Any, sub: str | None) -> None:
    """Names can be taken over, so they are not enough."""
    [problem] = pin(url, claims, sub)
    assert problem.startswith(f"match: {name} signs for everybody, and names can be taken over: add what says that")


@pytest.mark.parametrize(
    ("url", "claims", "says"),
    [
        (GITHUB, {"repository_owner_id": 65},
         "repository_owner_id: write it in quotes: in GitHub's tokens it is a text"),
        (GITHUB, {"repository_id": "74", "run_attempt": 1},
         "run_attempt: write it in quotes: in GitHub's tokens it is a text"),
        (GITHUB, {"repository_owner_id": "acme"},
         'repository_owner_id: expected the one that GitHub gave you, which looks like "123456"'),
        (GITHUB, {"repository_owner_id": ""},
         'repository_owner_id: expected the one that GitHub gave you, which looks like "123456"'),
        (GITHUB, {"repository_owner_id": "\u0661\u0662"},
         'repository_owner_id: expected the one that GitHub gave you, which looks like "123456"'),
        (GITLAB, {"project_id": 20}, "project_id: write it in quotes: in GitLab.com's tokens it is a text"),
        (GITLAB, {"project_id": "20", "ref_protected": True},
         "ref_protected: write it in quotes: in GitLab.com's tokens it is a text"),
        (GOOGLE, {"google": {"compute_engine": {"project_number": "739419398126"}}},
         "google.compute_engine.project_number: expected the one that Google gave you, which looks like 123456"),
        (GOOGLE, {"google": {"compute_engine": {"project_number": True}}},
         "google.compute_engine.project_number: expected the one that Google gave you, which looks like 123456"),
        (BUILDKITE, {"organization_id": "acme"},
         f"organization_id: expected the one that Buildkite gave you, which looks like {LIKE_BUILDKITES}"),
        (TERRAFORM, {"terraform_project_id": "acme"},
         f"terraform_project_id: expected the one that HCP Terraform gave you, which looks like {LIKE_TERRAFORMS}"),
    ],
)  # fmt: skip
def test_a_number_that_is_written_as_the_token_does_not_have_it(url: str, claims: Any, says: str) -> None:
    """It would never match, or not mean what was thought."""
    assert pin(url, claims) == [f"match.claims.{says}"]


def test_a_number_without_quotes_is_not_reported_as_missing() -> None:
    """One mistake, one sentence."""
    assert len(pin(GITHUB, {"repository_id": 74})) == 1


@pytest.mark.parametrize(
    "address",
    [
        "",
        "https://",
        "https:///x",
        "https://a b",
        "https://a:999999",
        "https://a:65536",
        "https://[::::]/x",
        "javascript:x",
    ],
)
def test_what_is_no_address(address: str) -> None:
    """Neither for settings nor for a discovery document."""
    assert not is_trustworthy(address)
