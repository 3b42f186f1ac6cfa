"""The service on its stand-ins: what `make run` starts, and what most tests start from."""

from __future__ import annotations

from dataclasses import replace

import httpx

from app import World
from settings.model import BackstageSettings, LiteLLMSettings, Settings, Tier
from standalone import backstage, catalog, litellm
from standalone.backstage import BackstageStandIn
from standalone.litellm import LiteLLMStandIn


def standalone_settings(folder: str) -> Settings:
    """Settings that point at the stand-ins, with the state in `folder`; new users get 100 USD every 30 days."""
    return Settings(
        litellm=LiteLLMSettings(
            "http://litellm.standalone", litellm.MASTER_KEY, Tier(max_budget=100.0, budget_duration="30d")
        ),
        backstage=BackstageSettings(backstage.BASE_URL, f"{backstage.BASE_URL}/api/auth", catalog.CATALOG_TOKEN),
        admin_group=catalog.ADMINS,
        allowed_group=catalog.MEMBERS,
        database_url=f"sqlite+aiosqlite:///{folder}/state.sqlite3",
    )


def standalone_world(
    litellm_stand_in: LiteLLMStandIn | None = None,
    backstage_stand_in: BackstageStandIn | None = None,
    world: World | None = None,
) -> World:
    """`world` with both upstreams answered in this process, and mock sign-in."""
    litellm_stand_in = litellm_stand_in or LiteLLMStandIn()
    backstage_stand_in = backstage_stand_in or BackstageStandIn()
    return replace(
        world or World(),
        litellm=httpx.ASGITransport(litellm_stand_in.app),
        backstage=httpx.ASGITransport(backstage_stand_in.app),
        sign_in=backstage_stand_in.sign_in,
    )
