"""What callers misplace is masked in every sink that keeps it, and what only resembles a secret is readable there."""

from __future__ import annotations

import io
import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from settings.model import ServiceToken
from tests.conftest import ALICE, BASE, MakeService, Service, keys_path, user_path
from tests.support.redaction import KNOWN, SECRETS, WORDS
from tests.support.traces import Traces


@pytest.fixture
def traces() -> Traces:
    return Traces()


@pytest.fixture
def service(make_service: MakeService, traces: Traces) -> Service:
    """Its service tokens are all the secrets that have no form."""
    tokens = tuple(ServiceToken(secret, f"service:{number}", "admin") for number, secret in enumerate(KNOWN.values()))
    return make_service(ports={"tracing": traces.tracing}, service_tokens=tokens, creates_per_minute=100_000)


async def misplaced(alice: httpx.AsyncClient, text: str) -> None:
    """`text` in a note that is requested, stored, changed and refused, and in a path that does not exist."""
    created = await alice.post(keys_path(ALICE), json={"metadata": {"note": text}})
    key = keys_path(ALICE, created.json()["keyId"])
    assert (await alice.patch(key, json={"metadata": {"note": f"<{text}>", "other": "x"}})).status_code == 200
    assert (await alice.delete(key)).status_code == 204
    await alice.get(f"{user_path(ALICE)}/{quote(text, safe='')}")


async def audited(alice: httpx.AsyncClient) -> list[dict[str, Any]]:
    return list((await alice.get(f"{BASE}/audit", params={"limit": 100})).json()["events"])


@pytest.mark.parametrize("secret", [*SECRETS, *KNOWN.values()], ids=lambda secret: secret[:12])
async def test_a_secret_is_in_no_sink(service: Service, log: io.StringIO, traces: Traces, secret: str) -> None:
    """Neither in the audit log (requested, before, after), nor in a line of the log, nor in a trace."""
    await misplaced(alice := service.signed_in(ALICE), secret)
    events = await audited(alice)
    notes = [
        event[part]["metadata"]["note"]
        for event in events
        for part in ("requested", "before", "after")
        if event[part] and event[part].get("metadata")
    ]
    assert sorted(set(notes)) == ["<[redacted]>", "[redacted]"]
    spellings = {secret, json.dumps(secret)[1:-1], quote(secret, safe="")}
    kept = [json.dumps(events), json.dumps(events, ensure_ascii=False), log.getvalue(), str(traces)]
    assert not [text for text in kept for spelling in spellings if spelling in text]
    assert f"{user_path(ALICE)}/[redacted]" in log.getvalue()


@pytest.mark.parametrize("word", WORDS)
async def test_a_word_is_readable_in_every_sink(service: Service, log: io.StringIO, traces: Traces, word: str) -> None:
    """As it was sent, and in a path percent-encoded."""
    await misplaced(alice := service.signed_in(ALICE), word)
    _, updated, created = (await audited(alice))[:3]
    assert created["requested"] == {"metadata": {"note": word}}
    assert updated["before"]["metadata"] == {"note": word}
    assert updated["after"]["metadata"] == {"note": f"<{word}>", "other": "x"}
    shown = f"{user_path(ALICE)}/{quote(word, safe='')}"
    paths = [json.loads(line).get("path") for line in log.getvalue().splitlines()]
    assert shown in paths
    assert shown in [(span.attributes or {}).get("url.path") for span in traces.spans]


@pytest.mark.parametrize(("alias", "shown"), [("desk-lamp", "desk-lamp"), ("sk-1234567890", "[redacted]")])
async def test_the_reason_of_a_failure(service: Service, alias: str, shown: str) -> None:
    """What a message repeats of a request is masked in the answer and in the audit log, and only if it is a secret."""
    alice = service.signed_in(ALICE)
    await alice.post(keys_path(ALICE), json={"alias": alias})
    refused = await alice.post(keys_path(ALICE), json={"alias": alias})
    said = f"Another key has the alias {shown}; choose a different one"
    assert (refused.status_code, refused.json()["error"]["message"]) == (409, said)
    assert (await audited(alice))[0]["detail"] == said


@pytest.mark.parametrize("secret", SECRETS[:5])
async def test_a_path_in_an_error(service: Service, secret: str) -> None:
    """The error repeats the path, without the secret in it; a word is repeated."""
    alice = service.signed_in(ALICE)
    answer = await alice.get(f"{user_path(ALICE)}/{quote(secret, safe='')}")
    assert answer.json()["request"]["url"] == f"{user_path(ALICE)}/[redacted]"
    assert (await alice.get(f"{BASE}/desk-lamp")).json()["request"]["url"] == f"{BASE}/desk-lamp"


async def test_a_secret_is_no_request_id(service: Service, log: io.StringIO) -> None:
    """It would stand in every line of the request, and in the audit log."""
    for secret in (SECRETS[0], KNOWN["plain"]):
        answer = await service.signed_in(ALICE).post(keys_path(ALICE), headers={"X-Request-Id": secret})
        assert answer.headers["X-Request-Id"] != secret
        assert secret not in log.getvalue()
    assert not [
        row for row in await audited(service.signed_in(ALICE)) if row["requestId"] in (SECRETS[0], KNOWN["plain"])
    ]
