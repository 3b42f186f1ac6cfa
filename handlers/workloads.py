"""The operations on `/oauth/token` and `/workloads`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import orjson
from starlette.responses import Response

from domain.identity import Principal
from domain.sessions import Origin
from domain.workloads import IssuedSession
from handlers.responses import Answer, iso, json_response
from services.tokens.endpoint import TokenEndpoint
from services.tokens.workloads import IssuerState, RuleState, Workloads

_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # the name of a type


class _TokenParameters(TypedDict):
    grant_type: str
    client_id: str


class _TokenRequest(_TokenParameters, total=False):
    subject_token: str
    subject_token_type: str
    requested_token_type: str
    scope: str
    audience: str
    resource: str
    actor_token: str
    device_code: str
    refresh_token: str


class _WorkloadIssuer(Answer):
    name: str
    url: str
    audience: str
    keys: int
    read_at: str | None
    problem: str | None


class _WorkloadKeyLimits(Answer):
    life: int
    models: Sequence[str]
    max_budget: float | None
    tpm_limit: int | None
    rpm_limit: int | None


class _WorkloadClaim(Answer):
    path: Sequence[str]
    value: str


class _WorkloadRule(Answer):
    name: str
    issuer: str
    owner: str
    sub: str | None
    claims: Sequence[_WorkloadClaim]
    key: _WorkloadKeyLimits
    per_minute: int
    max_living: int
    living_keys: int
    last_used_at: str | None


class _TestWorkloadRequest(TypedDict, total=False):
    token: str
    claims: Mapping[str, Any]


class _TestedRule(Answer):
    name: str
    matched: bool
    problem: str | None


async def issue_token(service: TokenEndpoint, body: _TokenRequest, origin: Origin) -> Response:
    """`POST /oauth/token`: 200 with a key as an access token, and with a refresh token for a device."""
    issued = await service(body, origin)
    named = {"access_token": issued.access_token, "issued_token_type": _ACCESS_TOKEN, "token_type": "Bearer"}
    return json_response(named | {"expires_in": issued.expires_in} | _session(issued.session))


async def get_workloads(service: Workloads, principal: Principal) -> Response:
    """`GET /workloads`: 200 with the issuers and the rules."""
    issuers, rules = await service.all(principal)
    return json_response({"issuers": [_issuer(row) for row in issuers], "rules": [_rule(row) for row in rules]})


async def test_workload(service: Workloads, principal: Principal, body: _TestWorkloadRequest) -> Response:
    """`POST /workloads/test`: 200 with what each rule says."""
    tested = await service.test(principal, body.get("token"), body.get("claims"))
    said = {"verified": tested.verified, "issuer": tested.issuer, "problem": tested.problem}
    return json_response(said | {"rules": [_TestedRule.of(row) for row in tested.rules]})


def _session(session: IssuedSession | None) -> dict[str, Any]:
    if session is None:
        return {}
    renewal = {"refresh_token": session.refresh_token, "refresh_token_expires_in": session.expires_in}
    names = ("session_id", "principal", "owner", "litellm_url")
    return renewal | {name: getattr(session, name) for name in names}


def _issuer(row: IssuerState) -> _WorkloadIssuer:
    return _WorkloadIssuer.of(row, keys=row.health.count, read_at=iso(row.health.read_at), problem=row.health.problem)


def _rule(row: RuleState) -> _WorkloadRule:
    rule = row.rule
    claims = [_WorkloadClaim(path=path, value=orjson.dumps(value).decode()) for path, value in rule.match.claims]
    return _WorkloadRule.of(
        rule,
        sub=rule.match.sub,
        claims=claims,
        key=_WorkloadKeyLimits.of(rule.key),
        living_keys=row.living_keys,
        last_used_at=iso(row.last_used_at),
    )
