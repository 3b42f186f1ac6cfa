"""An organization that people join and leave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.organization import Organization

MakeOrganization = Callable[..., Organization]


@pytest.fixture
async def make_organization(tmp_path: Path) -> AsyncIterator[MakeOrganization]:
    """Creates organizations: `make_organization(members=20, …settings)`."""
    founded: list[Organization] = []

    def make(members: int = 3, **settings: Any) -> Organization:
        organization = Organization(tmp_path, members, **settings)
        founded.append(organization)
        return organization

    yield make
    for organization in founded:
        await organization.orchestrator.aclose()


@pytest.fixture
def organization(make_organization: MakeOrganization) -> Organization:
    """Three members and an admin."""
    return make_organization()
