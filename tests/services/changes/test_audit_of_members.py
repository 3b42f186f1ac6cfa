"""What members see in the audit log: what they did and what was done to them, and nothing that others own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from domain.actions import Action, Ending, Intent, Outcome
from state.changes import ChangeTable
from state.database import Database
from state.kept_answers import KeptAnswers
from state.rates import Rates
from tests.conftest import ALICE, BASE, BOB, Service, keys_path
from tests.support.audit import AUDIT, events
from tests.support.keys import made

BOBS_OWN = "only-bob-knows"
OF_A_REPORT = {"actor", "action", "outcome", "repetitions"}
PER_REQUEST = {"id", "at", "requestId"}


async def record(service: Service, *ended: tuple[Intent, Ending]) -> None:
    """Changes that ended, as the write path records them."""
    database = Database(service.settings.database_url, service.ports.wall_clock)
    changes = ChangeTable(database, KeptAnswers(database), Rates(database))
    for intent, ending in ended:
        async with database.transaction() as connection:
            change_id = await changes.insert_running(connection, intent, None)
            assert change_id is not None
            assert await changes.end(connection, change_id, intent.operation, ending)
    await database.aclose()


def ways_to_ask(about: str, action: str) -> list[dict[str, str]]:
    """Every combination of filters that could single an event out."""
    actors, targets, actions = [{}, {"actor": ALICE}, {"actor": BOB}], [{}, {"target": about}], [{}, {"action": action}]
    return [one | two | three for one in actors for two in targets for three in actions]


@pytest.mark.parametrize("action", Action)
async def test_no_action_shows_a_member_what_another_owns(service: Service, action: Action) -> None:
    """Of alice's changes to bob's resources she sees what she sent; of bob's own changes nothing; bob sees all."""
    alice, bob = service.signed_in(ALICE), service.signed_in(BOB)
    canary = {"name": BOBS_OWN}
    ended = []
    for outcome in Outcome:
        hers = Intent(f"{outcome} one", ALICE, action, BOB, requested={"name": "alice sent it"})
        his = replace(hers, operation=f"{outcome} two", actor=BOB, requested=canary)
        ending = Ending(outcome, key_id="", before=canary, after=canary)
        ended += [(hers, ending), (his, replace(ending, key_id=BOBS_OWN))]
    await record(service, *ended)
    for query in ways_to_ask(BOB, action):
        shown = (await alice.get(AUDIT, params=query)).text
        assert BOBS_OWN not in shown, query
    shown_to_bob = await events(bob, target=BOB, action=action)
    assert [(row["outcome"], row["actor"], row["before"], row["after"]) for row in shown_to_bob] == [
        (outcome, actor, canary, canary) for outcome in reversed(Outcome) for actor in (BOB, ALICE)
    ]


async def test_no_action_hides_from_a_member_what_was_done_to_them(service: Service) -> None:
    """Who did it, what changed and to which key."""
    fields = {"name": "value"}
    done = Ending(Outcome.DONE, "a", before=fields, after=fields)
    await record(service, *((Intent(action, BOB, action, ALICE, requested=fields), done) for action in Action))
    shown = await events(service.signed_in(ALICE), target=ALICE, limit=100)
    assert [event["action"] for event in shown] == [*Action][::-1]
    for event in shown:
        assert (event["actor"], event["keyId"], event["detail"]) == (BOB, "a", None), event
        assert event["before"] == event["requested"] == event["after"] == fields, event


async def test_what_litellm_said_about_a_refused_change_is_for_admins(service: Service) -> None:
    """It may name other people: the member sees that their change failed and why, as they were told, and no more."""
    said = {"litellmSaid": f"the alias is taken by {BOB}"}
    intent = Intent("one", ALICE, Action.KEY_UPDATE, ALICE, requested={"alias": "a"})
    await record(service, (intent, Ending(Outcome.FAILED, after=said, detail="choose another alias")))
    seen = [(await events(service.signed_in(who), target=ALICE))[0] for who in (ALICE, BOB)]
    assert [(row["outcome"], row["detail"], row["after"]) for row in seen] == [
        ("failed", "choose another alias", None),
        ("failed", "choose another alias", said),
    ]


async def test_a_member_sees_what_they_asked_of_another(service: Service) -> None:
    """Whose key it was, what they sent, when it ended and why it was refused."""
    intent = Intent("one", ALICE, Action.KEY_UPDATE, BOB, key_id="b", requested={"alias": "a"})
    await record(service, (intent, Ending(Outcome.DENIED, detail="not yours")))
    (event,) = await events(service.signed_in(ALICE), actor=ALICE)
    assert (event["target"], event["keyId"], event["requested"]) == (BOB, "b", {"alias": "a"})
    assert (event["detail"], event["finishedAt"]) == ("not yours", event["at"])


def told(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in PER_REQUEST}


async def test_a_report_tells_its_reporter_nothing(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """Bob's key, her own and one that nobody has look alike, however she asks; the admin sees which was which."""
    bobs = (await bob.post(keys_path(BOB))).json()["keySecret"]
    own = (await alice.post(keys_path(ALICE))).json()["keySecret"]
    for secret in (bobs, own, "sk-made-up"):
        assert (await alice.post(f"{BASE}/keys/report", json={"key": secret})).status_code == 202
    shown = await events(alice, action="key.report")
    assert len(shown) == 3
    assert told(shown[0]) == told(shown[1]) == told(shown[2])
    assert {name for name, value in told(shown[0]).items() if value is not None} == OF_A_REPORT
    for target in (ALICE, BOB):
        for actor in ({}, {"actor": ALICE}):
            assert [row["action"] for row in await events(alice, target=target, **actor)].count("key.report") == 0
    assert [(row["target"], row["after"]) for row in await events(bob, action="key.report")] == [
        (None, {"known": False}),
        (ALICE, {"known": True}),
        (BOB, {"known": True}),
    ]


async def test_pages_do_not_tell_whose_key_was_reported(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """A member's pages have the same sizes and cursors whether the key that they reported was bob's or nobody's."""
    await made(alice)
    secrets = [(await bob.post(keys_path(BOB))).json()["keySecret"], "sk-made-up"]
    counts = []
    for secret in secrets:
        assert (await alice.post(f"{BASE}/keys/report", json={"key": secret})).status_code == 202
        for query in ({}, {"target": BOB}, {"target": ALICE}, {"actor": ALICE}):
            page = (await alice.get(AUDIT, params={"limit": 1, **query})).json()
            counts.append((query, len(page["events"]), page["nextCursor"] is not None))
    half = len(counts) // 2
    assert counts[:half] == counts[half:]


async def test_the_owner_learns_of_a_report(service: Service) -> None:
    """Alice sees that bob reported a key of hers, and which."""
    alice = service.signed_in(ALICE)
    key = (await alice.post(keys_path(ALICE))).json()
    await service.signed_in(BOB).post(f"{BASE}/keys/report", json={"key": key["keySecret"]})
    (event,) = await events(alice, target=ALICE, action="key.report")
    assert (event["actor"], event["keyId"], event["after"]) == (BOB, key["keyId"], {"known": True})
