"""The service on its stand-ins: for `make run`, and for most tests."""

from __future__ import annotations

from dataclasses import replace

import httpx
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app import Ports
from domain.identity import GroupRefs
from domain.owners import OwnerEntry
from domain.users import Tier
from domain.workloads import KeyTerms, Match, Rule
from settings.model import BackstageSettings, ConsoleSettings, Issuer, LiteLLMSettings, Settings, WorkloadSettings
from standalone import backstage, catalog, issuer, litellm
from standalone.backstage import BackstageStandIn
from standalone.issuer import IssuerStandIn
from standalone.litellm import LiteLLMStandIn

CHECKOUT, PIPELINE = "component:default/checkout", "checkout-pipeline"
CALLS_PATH = "/litellm"
"""Where `with_model_calls` serves the paths that keys are for."""
TOKEN_PATH = "/issuer/token"  # noqa: S105  # a path
"""Where `with_workload_tokens` serves tokens that the rule PIPELINE takes."""


def standalone_settings(folder: str) -> Settings:
    """Settings for the stand-ins, with the state in `folder`. New users get 100 USD every 30 days, services 50."""
    return Settings(
        litellm=LiteLLMSettings(
            "http://litellm.standalone", litellm.MASTER_KEY, Tier(max_budget=100.0, budget_duration="30d")
        ),
        backstage=BackstageSettings(backstage.BASE_URL, f"{backstage.BASE_URL}/api/auth", catalog.CATALOG_TOKEN),
        console=ConsoleSettings(models_url="https://llm.example.com", contact="#llm-platform"),
        public_url="http://orchestrator.standalone",
        groups=GroupRefs(allowed=(catalog.MEMBERS,), admin=(catalog.ADMINS,)),
        owners=(
            OwnerEntry(
                "component", ("spec.type=service",), 10, Tier(max_budget=50.0, budget_duration="30d", max_keys=5)
            ),
            OwnerEntry("group", ("spec.type=team",), None, Tier(max_budget=200.0, budget_duration="30d")),
        ),
        workloads=WorkloadSettings(
            issuers=(Issuer("standalone", issuer.URL, issuer.AUDIENCE),),
            rules=(
                Rule(PIPELINE, "standalone", CHECKOUT, Match(sub="repo:acme/checkout:*"), KeyTerms(max_budget=1.0)),
            ),
        ),
        database_url=f"sqlite+aiosqlite:///{folder}/state.sqlite3",
    )


def standalone_ports(
    litellm_stand_in: LiteLLMStandIn | None = None,
    backstage_stand_in: BackstageStandIn | None = None,
    ports: Ports | None = None,
    issuer_stand_in: IssuerStandIn | None = None,
) -> Ports:
    """`ports` with LiteLLM, Backstage and an issuer of workloads' tokens in this process, and mock sign-in."""
    litellm_stand_in = litellm_stand_in or LiteLLMStandIn()
    backstage_stand_in = backstage_stand_in or BackstageStandIn()
    return replace(
        ports or Ports(),
        litellm=httpx.ASGITransport(litellm_stand_in.app),
        backstage=httpx.ASGITransport(backstage_stand_in.app),
        issuers=issuer_stand_in or IssuerStandIn(),
        sign_in=backstage_stand_in.sign_in,
        people=backstage_stand_in.org.people(),
    )


def with_model_calls(service: ASGIApp, litellm_stand_in: LiteLLMStandIn) -> ASGIApp:
    """`service`, and beside it calls of models below CALLS_PATH. LiteLLM's management API is not among them."""
    calls = litellm_stand_in.calls_below(CALLS_PATH)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        is_call = scope["type"] == "http" and scope["path"].startswith(f"{CALLS_PATH}/")
        await (calls if is_call else service)(scope, receive, send)

    return application


def with_workload_tokens(service: ASGIApp, issuer_stand_in: IssuerStandIn) -> ASGIApp:
    """`service`, and beside it, for anybody, tokens as a forge gives them to its pipelines."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        is_token = scope["type"] == "http" and scope["path"] == TOKEN_PATH
        await (PlainTextResponse(issuer_stand_in.token()) if is_token else service)(scope, receive, send)

    return application
