"""Users that the source of the catalog does not have any more: old releases of Backstage keep them, as orphans."""

from __future__ import annotations

import pytest

from settings.model import CleanupSettings, Orphans
from tests.conftest import ALICE, MakeService, user_path
from tests.services.offboarding.conftest import MakeOrganisation
from tests.support.organisation import INTERVAL, Organisation


async def test_orphans_stay(organisation: Organisation) -> None:
    """They count as before, and the report says how many there are."""
    organisation.org.orphans |= {organisation.ref("m0"), organisation.ref("boss"), organisation.ref("in-no-group")}
    report = await organisation.run()
    assert (report["outcome"], report["members"], report["admins"], report["orphans"]) == ("done", 3, 1, 2)
    assert organisation.to_litellm.changes == []
    assert organisation.orchestrator.cleanup is not None
    kept = await organisation.orchestrator.cleanup.last_report()
    assert kept is not None
    assert kept.orphans == 2


async def test_orphans_leave(make_organisation: MakeOrganisation) -> None:
    """Where the operator says so: blocked like everybody who left, given back if the source has them again."""
    organisation = make_organisation(cleanup=CleanupSettings(interval=INTERVAL, orphans="leave"))
    gone = organisation.ref("m0")
    organisation.org.orphans.add(gone)
    report = await organisation.run()
    assert (report["done"]["blocked"], report["members"], report["orphans"]) == ([gone], 2, 1)
    organisation.org.orphans.clear()
    report = await organisation.run()
    assert (report["done"]["restored"], report["orphans"]) == ([gone], 0)


@pytest.mark.parametrize(("orphans", "status"), [("keep", 200), ("leave", 403)])
async def test_an_orphan_calls(make_service: MakeService, orphans: Orphans, status: int) -> None:
    """The cleanup off-boards them, so their requests are refused: each would create the user again."""
    service = make_service(cleanup=CleanupSettings(enabled=False, orphans=orphans), membership="catalog")
    service.backstage.org.orphans.add(ALICE)
    assert (await service.signed_in(ALICE).get(user_path(ALICE))).status_code == status
