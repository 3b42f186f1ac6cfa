"""No table grows for ever: what bounds each, and rows that age out."""

from __future__ import annotations

import httpx
import sqlalchemy as sa

from settings.model import CleanupSettings
from standalone.environment import CHECKOUT
from standalone.litellm import LiteLLMStandIn
from state.database import Database
from state.events import FORGOTTEN_AT_ONCE
from state.tables import change, metadata
from tests.conftest import ALICE, BASE, BOB, CAROL, Clock, Hasty, MakeService, Service, keys_path, user_path
from tests.support.adoption import planned
from tests.support.devices import ask, sign_in
from tests.support.requests import exchange, run_cleanup
from tests.support.upstreams import Overriding, respond

DELETED, LEAVER, STRANGER = "user:default/gone", "user:default/left", "made-by-single-sign-on"
YEARS = 2 * 366 * 86_400.0

AGING = {
    "change": "audit.retentionDays",
    "repetition": "goes with its change",
    "kept_answer": "a day",
    "rate": "until all requests are available again",
    "reported_key": "a day, and for as long as its key exists",
    "due": "until it is done",
    "cleanup_run": "30 days, except the last accepted one",
    "adoption_run": "30 days, at the next one",
    "cleanup_deletion": "a day",
    "offboarding": "until the user is back or deleted",
    "directory_user": "for as long as LiteLLM has the user",
    "directory_stranger": "likewise",
    "short_key": "until the key is deleted, soon after its end",
    "device_code": "an hour after its end",
    "code_guess": "ten minutes",
    "session": "until it ends, or was not used for its life",
    "session_token": "30 days after its use, and no longer than its session",
    "refused_exchange": "a minute, then it is in the audit log",
}
FIXED = {"lease": "one row for each job", "directory_sweep": "one row", "root": "one row"}
AT_ONCE = CleanupSettings(enabled=False, grace_period=0, max_deletions=1, delete_foreign=True)


async def counts(service: Service) -> dict[str, int]:
    """The number of rows of each table."""
    database = Database(service.settings.database_url, service.ports.wall_clock)
    async with database.reading() as connection:
        queries = {name: sa.select(sa.func.count()).select_from(table) for name, table in metadata.tables.items()}
        found = {name: int((await connection.execute(query)).scalar_one()) for name, query in queries.items()}
    await database.aclose()
    return found


def test_every_table_has_a_retention() -> None:
    """A new table needs a line here, and rows in the test below."""
    assert AGING.keys() | FIXED.keys() == metadata.tables.keys()


async def use(service: Service, litellm: LiteLLMStandIn) -> None:
    """Everything that writes a row."""
    alice, bob, carol = (service.signed_in(ref) for ref in (ALICE, BOB, CAROL))
    key = (await alice.post(keys_path(ALICE), headers={"Idempotency-Key": "once"})).json()
    await alice.post(f"{keys_path(ALICE, key['keyId'])}/regenerate", json={"overlap": 60})
    for secret in ("sk-made-up", key["keySecret"]):
        await carol.post(f"{BASE}/keys/report", json={"key": secret})
    for _ in range(3):
        await carol.post(keys_path(CAROL))
    for sub in ("repo:acme/checkout:main", "repo:mallory/x:main"):
        await exchange(service.client(), service.issuer.token(sub=sub))
    await sign_in(service, ALICE)
    await ask(service.client())
    assert (await alice.get(f"{BASE}/device-codes/BBBB-BBBB")).status_code == 404
    litellm.rows.add_user({"user_id": STRANGER, "user_email": "somebody@example.com"})
    for leaver in (DELETED, LEAVER):
        litellm.rows.add_user({"user_id": leaver})
        litellm.rows.add_key({"user_id": leaver, "metadata": {}})
    for _ in range(2):
        await run_cleanup(bob)
    await planned(bob)
    assert DELETED not in litellm.rows.users


async def test_rows_age_out(make_service: MakeService, litellm: LiteLLMStandIn, clock: Clock) -> None:
    """Two years after everything was used and everybody deleted, the tables are as they were at the start."""
    service = make_service(cleanup=AT_ONCE)
    fresh = await counts(service)
    await use(service, litellm)
    lossy = Overriding(httpx.ASGITransport(litellm.app), {"/key/delete": respond(500, json={})})
    (key_id, *_) = litellm.rows.keys
    await make_service(ports={"litellm": lossy}).signed_in(ALICE).delete(keys_path(ALICE, key_id))
    filled = await counts(service)
    assert {name for name in filled if filled[name] > fresh[name]} == AGING.keys()
    for _ in range(2):
        clock.advance(400)
        await service.run_background_jobs()
    for ref in (ALICE, LEAVER, CHECKOUT):
        assert (await service.signed_in(BOB).delete(user_path(ref))).status_code == 200
    litellm.rows.delete_user(STRANGER)
    clock.advance(YEARS)
    await service.run_background_jobs()
    await run_cleanup(service.signed_in(BOB))
    await planned(service.signed_in(BOB))
    await service.run_background_jobs()
    left = await counts(service)
    assert left | {"cleanup_run": 0, "adoption_run": 0} == fresh
    assert left["adoption_run"] == 1, "the one just made"
    assert left["cleanup_run"] <= 2, "the last accepted one, and the one just made"


async def fill(database: Database, clock: Clock, rows: int) -> None:
    """So many changes that ended now."""
    row = {"actor": CAROL, "action": "key.create", "outcome": "denied", "started_at": clock(), "ended_at": clock()}
    async with database.transaction() as connection:
        for start in range(0, rows, 500):
            numbered = [{**row, "operation": f"o{number}"} for number in range(start, start + 500)]
            await connection.execute(sa.insert(change), numbered)


async def test_retention_keeps_up(make_service: MakeService, clock: Clock) -> None:
    """One run deletes all that is too old, not only a thousand; after ten seconds it leaves the rest to the next."""
    service = make_service(audit_retention=1000.0)
    database = Database(service.settings.database_url, clock)
    await fill(database, clock, 5 * FORGOTTEN_AT_ONCE)
    clock.advance(1001)
    await make_service(audit_retention=1000.0, ports={"clock": Hasty()}).run_background_jobs()
    assert (await counts(service))["change"] == 4 * FORGOTTEN_AT_ONCE
    await service.run_background_jobs()
    assert (await counts(service))["change"] == 0
    await database.aclose()
