"""What a handler needs is there when the service starts, not when somebody calls it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.responses import Response

from domain.identity import Principal
from services.keys.create import CreateKey
from tests.support.application import application_of
from tests.support.requests import REQUESTS


async def wants_a_service(service: CreateKey, principal: Principal, **_: Any) -> Response:
    raise AssertionError


async def wants_what_no_request_has(colour: str, **_: Any) -> Response:
    raise AssertionError


async def ignores_the_query(principal: Principal) -> Response:
    raise AssertionError


FORGOTTEN = {
    "a service that is not registered": (wants_a_service, "service"),
    "an argument that no request has": (wants_what_no_request_has, "colour"),
    "a parameter that the handler does not take": (ignores_the_query, "(cursor|kind|limit|managed_by|query|status)"),
}


@pytest.mark.parametrize("name", FORGOTTEN)
async def test_what_a_handler_lacks_is_found_at_the_start(name: str) -> None:
    """The sentence names the operation and what is missing; nothing has been served by then."""
    handler, missing = FORGOTTEN[name]
    with pytest.raises(TypeError, match=rf"getUsers.*'{missing}'"):
        await started(application_of({"getUsers": handler}))


async def test_a_handler_that_takes_what_there_is(service: Any) -> None:
    """All operations of the contract start, and answer."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application_of({})), base_url="http://o") as client:
        assert (await client.get(REQUESTS["getLiveness"][1])).status_code == 500


async def started(application: Any) -> None:
    """Starts it: connexion builds its operations then."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://o") as client:
        await client.get("/")
