"""A company to let people leave from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.organization import Company

MakeCompany = Callable[..., Company]


@pytest.fixture
async def make_company(tmp_path: Path) -> AsyncIterator[MakeCompany]:
    """Found companies: `make_company(members=20, …settings)`."""
    founded: list[Company] = []

    def make(members: int = 3, **settings: Any) -> Company:
        company = Company(tmp_path, members, **settings)
        founded.append(company)
        return company

    yield make
    for company in founded:
        await company.parts.aclose()


@pytest.fixture
def company(make_company: MakeCompany) -> Company:
    """Three members and an admin."""
    return make_company()
