"""Implausible snapshots change nothing: asserted on LiteLLM's requests and its whole content."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from domain.errors import UpstreamFaultError
from domain.offboarding import Progress
from standalone.catalog import ADMINS, MEMBERS, TEAM_A
from tests.services.offboarding.conftest import MakeOrganisation
from tests.support.organisation import AT_ONCE, Organisation
from tests.support.upstreams import respond
from tests.support.user_list import listing

BY_QUERY = "/api/catalog/entities/by-query"
GROUP = f"/api/catalog/entities/by-name/group/default/{MEMBERS.partition('/')[2]}"


def catalog_answers(response: httpx.Response | Exception, path: str = BY_QUERY) -> Callable[[Organisation], None]:
    def arrange(organisation: Organisation) -> None:
        organisation.leave("m0")

        def answer(_: httpx.Request) -> httpx.Response:
            if isinstance(response, Exception):
                raise response
            return httpx.Response(response.status_code, content=response.content)

        organisation.to_backstage.answers[path] = answer

    return arrange


def without_group(group: str) -> Callable[[Organisation], None]:
    def arrange(organisation: Organisation) -> None:
        organisation.leave("m0")
        del organisation.org.groups[group]

    return arrange


def second_page_fails(organisation: Organisation) -> None:
    organisation.leave("m0")
    first = {"items": [], "totalItems": 900, "pageInfo": {"nextCursor": "x"}}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500) if "cursor" in request.url.params else httpx.Response(200, json=first)

    organisation.to_backstage.answers[BY_QUERY] = answer


def truncated_page(organisation: Organisation) -> None:
    alice = {"kind": "User", "metadata": {"namespace": "default", "name": "m1"}}
    catalog_answers(httpx.Response(200, json={"items": [alice], "totalItems": 3, "pageInfo": {}}))(organisation)


def everybody_out(organisation: Organisation) -> None:
    for ref in organisation.org.users:
        organisation.org.users[ref].discard(MEMBERS)


def litellm_answers(response: httpx.Response, path: str = "/user/list") -> Callable[[Organisation], None]:
    def arrange(organisation: Organisation) -> None:
        organisation.leave("m0")
        organisation.to_litellm.answers[path] = lambda _: httpx.Response(response.status_code, content=response.content)

    return arrange


def strangers(organisation: Organisation) -> None:
    for user_id in (
        "svc-ci",
        "default_user_id",
        "dave@example.com",
        "group:default/admins",
        "user:default",
        "user:a/b c",
    ):
        organisation.litellm.rows.add_user({"user_id": user_id})
        organisation.mint(user_id)
    organisation.mint("user:default/an-orphan-key")
    organisation.litellm.rows.add_key({"user_id": None})


def only_in_the_admin_group(organisation: Organisation) -> None:
    organisation.join("chief", ADMINS)


def upper_case_in_the_catalog(organisation: Organisation) -> None:
    organisation.org.names["user:default/m0"] = "M0"


def upper_case_in_litellm(organisation: Organisation) -> None:
    organisation.litellm.rows.add_user({"user_id": "user:Default/M0"})
    organisation.mint("user:Default/M0")


def nested_in_a_cycle(organisation: Organisation) -> None:
    organisation.org.groups |= {TEAM_A: MEMBERS, "group:default/team-b": TEAM_A, MEMBERS: "group:default/team-b"}
    organisation.org.users["user:default/m0"] = {"group:default/team-b"}


def litellm_lists_nobody(organisation: Organisation) -> None:
    organisation.to_litellm.answers["/user/list"] = listing(list)


def somebody_elses_group(organisation: Organisation) -> None:
    organisation.org.groups["group:other/litellm-users"] = None
    organisation.join("m0", "group:other/litellm-users")


REFUSED = "refused"
ILLEGAL_TOKEN = httpx.Response(401, json={"error": {"name": "AuthenticationError"}})
NOT_ALLOWED = httpx.Response(403, json={"error": {"name": "NotAllowedError"}})
WRONG_KEY = httpx.Response(401, json={"error": {"message": "no"}})
DONE = "done"
NOTHING_CHANGES: dict[str, tuple[Callable[[Organisation], None], str, str]] = {
    "catalog 401": (
        catalog_answers(ILLEGAL_TOKEN),
        REFUSED,
        "refused this service's token",
    ),
    "catalog 403": (
        catalog_answers(NOT_ALLOWED),
        REFUSED,
        "refused this service's token",
    ),
    "an ingress's 403": (catalog_answers(httpx.Response(403)), REFUSED, "failed with status 403"),
    "an ingress's 404": (catalog_answers(httpx.Response(404)), REFUSED, "failed with status 404"),
    "a sign-in before the catalog": (catalog_answers(httpx.Response(302)), REFUSED, "redirects (status 302)"),
    "a limit of the catalog": (catalog_answers(httpx.Response(429)), REFUSED, "takes no more calls"),
    "catalog 500": (catalog_answers(httpx.Response(500)), REFUSED, "failed with status 500"),
    "catalog 503": (catalog_answers(httpx.Response(503)), REFUSED, "failed with status 503"),
    "catalog times out": (catalog_answers(httpx.ReadTimeout("slow")), REFUSED, "did not answer in time"),
    "catalog out of reach": (catalog_answers(httpx.ConnectError("refused")), REFUSED, "cannot be reached"),
    "catalog answers HTML": (catalog_answers(httpx.Response(200, html="<p>")), REFUSED, "expected: a JSON object"),
    "catalog answers a list": (catalog_answers(httpx.Response(200, json=[])), REFUSED, "expected: a JSON object"),
    "catalog answers something else": (
        catalog_answers(httpx.Response(200, json={"items": 5})),
        REFUSED,
        "unexpected response",
    ),
    "catalog lists something else": (
        catalog_answers(httpx.Response(200, json={"items": [5], "totalItems": 1, "pageInfo": {}})),
        REFUSED,
        "expected: an entity",
    ),
    "empty 200": (
        catalog_answers(httpx.Response(200, json={"items": [], "totalItems": 0, "pageInfo": {}})),
        REFUSED,
        "has no members",
    ),
    "group missing": (without_group(MEMBERS), REFUSED, "has no group:default/litellm-users"),
    "admin group missing": (without_group(ADMINS), REFUSED, "has no group:default/admins"),
    "group cannot be read": (catalog_answers(httpx.Response(500), GROUP), REFUSED, "failed with status 500"),
    "second page fails": (second_page_fails, REFUSED, "failed with status 500"),
    "truncated page": (truncated_page, REFUSED, "returned 1 of 3 entities"),
    "everybody leaves at once": (everybody_out, REFUSED, "has no members"),
    "LiteLLM cannot list": (litellm_answers(httpx.Response(500)), REFUSED, "failed with status 500"),
    "LiteLLM lists HTML": (litellm_answers(httpx.Response(200, html="<p>")), REFUSED, "not JSON"),
    "LiteLLM lists something else": (
        litellm_answers(httpx.Response(200, json={"users": [5], "total_pages": 1})),
        REFUSED,
        "unexpected response (expected: list of users)",
    ),
    "LiteLLM refuses the master key": (
        litellm_answers(WRONG_KEY),
        REFUSED,
        "master key",
    ),
    "LiteLLM lists nobody": (litellm_lists_nobody, DONE, ""),
    "nobody leaves": (lambda _: None, DONE, ""),
    "ids that are no Backstage users": (strangers, DONE, ""),
    "an admin outside the allowed group": (only_in_the_admin_group, DONE, ""),
    "upper case in the catalog": (upper_case_in_the_catalog, DONE, ""),
    "upper case in LiteLLM": (upper_case_in_litellm, DONE, ""),
    "nested groups in a cycle": (nested_in_a_cycle, DONE, ""),
    "a member of another namespace's group too": (somebody_elses_group, DONE, ""),
}


@pytest.mark.parametrize("name", NOTHING_CHANGES)
async def test_nothing_changes(organisation: Organisation, name: str) -> None:
    """Neither in the first run nor in the second, and the report says why."""
    arrange, outcome, reason = NOTHING_CHANGES[name]
    arrange(organisation)
    before = organisation.everything()
    for _ in range(2):
        report = await organisation.run()
        assert (report["outcome"], reason in (report["reason"] or "")) == (outcome, True), report
        assert organisation.to_litellm.changes == []
        assert organisation.everything() == before


async def test_a_dry_run_of_what_is_implausible(organisation: Organisation) -> None:
    """Says why, like a run; one that cannot read the catalog fails, and its report says that, too."""
    everybody_out(organisation)
    report = await organisation.dry_run()
    expected = ("refused", "The allowed group has no members, which is treated as a fault")
    assert (report.outcome, report.reason) == expected
    organisation.to_backstage.answers[BY_QUERY] = respond(500)
    with pytest.raises(UpstreamFaultError, match="Backstage's catalog failed with status 500") as raised:
        await organisation.dry_run()
    kept = await organisation.cleanup.last_report()
    assert kept is not None
    assert (kept.outcome, kept.reason) == ("failed", raised.value.message)


async def test_a_drop_of_more_than_half_changes_nothing(make_organisation: MakeOrganisation) -> None:
    """Six of ten members are gone since the last accepted run: nothing happens until an admin confirms."""
    organisation = make_organisation(members=10, cleanup=AT_ONCE)
    await organisation.run()
    for number in range(6):
        organisation.leave(f"m{number}")
    before = organisation.everything()
    report = await organisation.run()
    assert (report["outcome"], "less than half of the 10" in report["reason"]) == ("refused", True)
    assert (organisation.to_litellm.changes, organisation.everything()) == ([], before)
    confirmed = await organisation.run(plan_hash=report["plan"]["hash"])
    assert (confirmed["outcome"], len(confirmed["done"]["blocked"])) == ("done", 6)
    assert (await organisation.run())["done"]["deleted"] == confirmed["done"]["blocked"]


async def test_a_drop_of_half_is_believed(make_organisation: MakeOrganisation) -> None:
    """Five of ten: they are blocked without a confirmation."""
    organisation = make_organisation(members=10)
    await organisation.run()
    gone = [organisation.leave(f"m{number}") for number in range(5)]
    report = await organisation.run()
    assert (report["outcome"], report["reason"], report["done"]["blocked"]) == ("done", None, gone)


async def test_who_joins_while_a_snapshot_is_read_stays(organisation: Organisation) -> None:
    """LiteLLM is read before the catalog, so whoever it already has the catalog has too."""
    newcomer = organisation.ref("newcomer")
    shown = listing(lambda: list(organisation.litellm.rows.users.values()))

    def joining(request: httpx.Request) -> httpx.Response:
        organisation.join("newcomer")
        return shown(request)

    organisation.to_litellm.answers["/user/list"] = joining
    report = await organisation.run()
    assert (report["outcome"], report["plan"]["entries"], organisation.to_litellm.changes) == ("done", [], [])
    assert list(organisation.keys(newcomer).values()) == [False]


async def test_the_lease_is_renewed_while_a_snapshot_is_read(organisation: Organisation) -> None:
    """After each part, of which there may be very many, and before the next one."""
    organisation.leave("m1")
    asked: list[tuple[int, int]] = []

    async def beat(_: Progress | None) -> None:
        asked.append((len(organisation.to_litellm.requests), len(organisation.to_backstage.requests)))

    await organisation.cleanup.snapshots.read(beat, organisation.clock())
    of_backstage = len(organisation.to_backstage.requests)
    assert asked == [(1, 0), (1, of_backstage), (2, of_backstage), (3, of_backstage)]
    assert organisation.to_litellm.requests == ["/user/list", "/key/list", "/user/list"]


async def test_a_suddenly_empty_admin_group_is_implausible(organisation: Organisation) -> None:
    """The admin group follows the same rule as the allowed group."""
    await organisation.run()
    organisation.leave("boss")
    report = await organisation.run()
    assert (report["outcome"], organisation.to_litellm.changes) == ("refused", [])
