"""A leaver who is signed in to LiteLLM's own pages."""

from __future__ import annotations

from tests.support.keys import signed_in_there
from tests.support.organisation import Organisation


async def test_the_sign_in_of_a_leaver_is_taken_and_given_back_like_their_keys(impatient: Organisation) -> None:
    """Where LiteLLM lists it, it is blocked, unblocked if the user returns, and deleted with the user."""
    impatient.litellm.lists_sessions = True
    session, _ = signed_in_there(impatient.litellm, impatient.leave("m0"))
    gone = impatient.ref("m0")
    assert (await impatient.run())["done"]["keysBlocked"] == 2
    assert set(impatient.keys(gone).values()) == {True}
    impatient.join("m0")
    assert (await impatient.run())["done"]["keysRestored"] == 2
    assert impatient.keys(gone)[session] is False
    impatient.leave("m0")
    await impatient.run()
    assert (await impatient.run())["done"]["keysDeleted"] == 2
    assert impatient.keys(gone) == {}


async def test_a_sign_in_that_litellm_lists_for_nobody_is_deleted_with_the_user(impatient: Organisation) -> None:
    """It cannot be found before; the other keys are blocked, and nobody is reported as failed."""
    session, _ = signed_in_there(impatient.litellm, impatient.leave("m0"))
    gone = impatient.ref("m0")
    report = await impatient.run()
    assert (report["outcome"], report["done"]["keysBlocked"]) == ("done", 1)
    assert [token for token, is_blocked in impatient.keys(gone).items() if not is_blocked] == [session]
    assert (await impatient.run())["done"]["deleted"] == [gone]
    assert impatient.keys(gone) == {}
