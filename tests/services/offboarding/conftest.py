"""An organisation that people join and leave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.organisation import AT_ONCE, Organisation

MakeOrganisation = Callable[..., Organisation]


@pytest.fixture
async def make_organisation(tmp_path: Path) -> AsyncIterator[MakeOrganisation]:
    """Creates organisations: `make_organisation(members=20, …settings)`."""
    founded: list[Organisation] = []

    def make(members: int = 3, **settings: Any) -> Organisation:
        organisation = Organisation(tmp_path, members, **settings)
        founded.append(organisation)
        return organisation

    yield make
    for organisation in founded:
        await organisation.orchestrator.aclose()


@pytest.fixture
def organisation(make_organisation: MakeOrganisation) -> Organisation:
    """Three members and an admin."""
    return make_organisation()


@pytest.fixture
def impatient(make_organisation: MakeOrganisation) -> Organisation:
    """Three members and an admin; whoever leaves is blocked in one run and deleted in the next."""
    return make_organisation(cleanup=AT_ONCE)
