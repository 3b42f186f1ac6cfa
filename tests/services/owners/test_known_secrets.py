"""Who knows the secret of a key of software."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from standalone.backstage import BackstageStandIn
from standalone.catalog import MEMBERS
from standalone.issuer import IssuerStandIn
from standalone.litellm import LiteLLMStandIn
from tests.conftest import ALICE, BASE, BOB, Clock, MakeService, Service, keys_path, user_path
from tests.support.keys import made, transferred
from tests.support.requests import EXCHANGE
from tests.support.upstreams import Overriding, move_and_lose

DAVE, CHECKOUT, ASSISTANT = "user:default/dave", "component:default/checkout", "component:default/assistant"


async def known(bob: httpx.AsyncClient, user: str) -> dict[str, Any]:
    answer = await bob.get(f"{user_path(user)}/known-secrets")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def findings(bob: httpx.AsyncClient) -> list[tuple[str, str]]:
    report = (await bob.post(f"{BASE}/cleanup", json={"dryRun": True})).json()
    return [(row["userId"], row["message"]) for row in report["findings"] if row["kind"] == "knownSecret"]


async def test_who_created_or_rotated_a_key_knows_its_secret(service: Service, bob: httpx.AsyncClient) -> None:
    """A rotation by another takes it off the list; keys of people are not on it."""
    dave, alice = service.signed_in(DAVE), service.signed_in(ALICE)
    await made(dave, CHECKOUT, alias="ci")
    shared = await made(dave, MEMBERS, alias="shared")
    await made(dave, DAVE, alias="mine")
    daves = await known(bob, DAVE)
    assert {(row["owner"], row["alias"]) for row in daves["keys"]} == {(CHECKOUT, "ci"), (MEMBERS, "shared")}
    await alice.post(f"{keys_path(MEMBERS, shared)}/regenerate", json={})
    assert {row["alias"] for row in (await known(bob, DAVE))["keys"]} == {"ci"}
    assert {row["alias"] for row in (await known(bob, ALICE))["keys"]} == {"shared"}


async def test_a_transfer_leaves_the_old_owner_on_the_list(service: Service, bob: httpx.AsyncClient) -> None:
    """They still have the secret."""
    dave = service.signed_in(DAVE)
    key_id = await made(dave, DAVE, alias="ci")
    assert (await known(bob, DAVE))["keys"] == []
    await dave.post(f"{keys_path(DAVE, key_id)}/transfer", json={"owner": CHECKOUT})
    assert [(row["owner"], row["keyId"]) for row in (await known(bob, DAVE))["keys"]] == [(CHECKOUT, key_id)]


async def test_a_key_of_which_the_log_knows_nothing_is_listed_as_unknown(
    service: Service, bob: httpx.AsyncClient, litellm: LiteLLMStandIn
) -> None:
    """Made elsewhere, or older than the log."""
    await made(service.signed_in(DAVE), CHECKOUT, alias="ci")
    elsewhere = litellm.rows.add_key({"user_id": CHECKOUT, "key_alias": "elsewhere"})[0]["token"]
    assert [row["keyId"] for row in (await known(bob, DAVE))["unknown"]] == [elsewhere]


async def test_a_short_key_is_no_secret_that_somebody_knows(
    bob: httpx.AsyncClient, nobody: httpx.AsyncClient, issuer: IssuerStandIn
) -> None:
    """Only a workload received it: it is neither known nor unknown."""
    answer = await nobody.post(f"{BASE}/oauth/token", data=EXCHANGE | {"subject_token": issuer.token()})
    assert answer.status_code == 200, answer.text
    daves = await known(bob, DAVE)
    assert (daves["keys"], daves["unknown"]) == ([], [])


async def test_a_report_names_what_a_leaver_knows(
    service: Service, bob: httpx.AsyncClient, backstage: BackstageStandIn
) -> None:
    """As a finding, until the key is rotated."""
    dave, alice = service.signed_in(DAVE), service.signed_in(ALICE)
    await dave.get(user_path(DAVE))
    key_id = await made(dave, ASSISTANT, alias="ci")
    backstage.org.users[DAVE] = set()

    assert await findings(bob) == [(DAVE, f"They received the secret of the key ci of {ASSISTANT}; rotate it")]
    await alice.post(f"{keys_path(ASSISTANT, key_id)}/regenerate", json={})
    assert await findings(bob) == []


async def test_a_report_names_what_a_leaver_made_and_gave_to_software(
    service: Service, bob: httpx.AsyncClient, backstage: BackstageStandIn
) -> None:
    """Where it is by now, whatever was refused since; what they kept goes with them and is none of it."""
    dave = service.signed_in(DAVE)
    key_id = await made(dave, DAVE, alias="ci")
    await made(dave, DAVE, alias="mine")
    await transferred(dave, DAVE, key_id, CHECKOUT)
    await transferred(dave, CHECKOUT, key_id, ASSISTANT)
    await made(dave, CHECKOUT, alias="ci")
    refused = await dave.post(f"{keys_path(ASSISTANT, key_id)}/transfer", json={"owner": CHECKOUT})
    assert refused.status_code == 409
    backstage.org.users[DAVE] = set()
    assert {message for _, message in await findings(bob)} == {
        f"They received the secret of the key ci of {owner}; rotate it" for owner in (ASSISTANT, CHECKOUT)
    }


async def test_a_report_names_what_a_repair_found_with_software(
    make_service: MakeService, litellm: LiteLLMStandIn, backstage: BackstageStandIn, clock: Clock
) -> None:
    """A transfer whose answer was lost."""
    wire = Overriding(httpx.ASGITransport(litellm.app), {"/key/update": move_and_lose(litellm)})
    service = make_service(ports={"litellm": wire})
    dave = service.signed_in(DAVE)
    key_id = await made(dave, DAVE, alias="ci")
    await dave.post(f"{keys_path(DAVE, key_id)}/transfer", json={"owner": ASSISTANT})
    clock.advance(301)
    await service.run_background_jobs()
    backstage.org.users[DAVE] = set()
    assert [user for user, _ in await findings(service.signed_in(BOB))] == [DAVE]


async def test_it_takes_somebody_who_reads_the_whole_audit_log(service: Service) -> None:
    """A member learns nothing about anybody, nor about themselves."""
    assert (await service.signed_in(ALICE).get(f"{user_path(ALICE)}/known-secrets")).status_code == 403


async def test_as_many_secrets_as_there_are(service: Service, bob: httpx.AsyncClient, tmp_path: Path) -> None:
    """What was given before ten thousand other secrets is known, too, whether it was created or rotated."""
    dave = service.signed_in(DAVE)
    await made(dave, CHECKOUT, alias="created")
    rotated = await made(dave, ASSISTANT, alias="rotated")
    assert (await dave.post(f"{keys_path(ASSISTANT, rotated)}/regenerate", json={})).status_code == 201
    with closing(sqlite3.connect(tmp_path / "state.sqlite3")) as database:
        database.execute("CREATE TEMP TABLE later AS SELECT * FROM change WHERE action = 'key.create' LIMIT 1")
        for number in range(1000, 11_001):
            database.execute("UPDATE later SET id = :n, operation = :n, key_id = :n", {"n": number})
            database.execute("INSERT INTO change SELECT * FROM later")
        database.commit()
    daves = await known(bob, DAVE)
    assert ({row["alias"] for row in daves["keys"]}, daves["unknown"]) == ({"created", "rotated"}, [])
