"""What the tables of sessions and device codes guarantee, whatever the services above them check before."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa

from domain.due import Kind
from domain.sessions import CodeDecision, CodeState, Device, Session
from state.database import Database
from state.device_codes import DeviceCodes
from state.due import DueQueue
from state.sessions import Sessions
from state.tables import device_code, due, session, session_token
from tests.conftest import ALICE
from tests.state.conftest import shift

DEVICE = Device("litellm-key", "laptop", None, "192.0.2.7")
APPROVAL = CodeDecision(CodeState.APPROVED, ALICE, ALICE, 3600, "ses_1")
NEVER = Session("ses_1", ALICE, ALICE, DEVICE, 3600, 0, 0, 0, 3600)


@pytest.fixture
async def codes(database: Database) -> DeviceCodes:
    """One code, which nobody has decided about."""
    codes = DeviceCodes(database)
    async with database.transaction() as connection:
        assert await codes.add(connection, "device", "user", DEVICE, life=600, interval=5)
    return codes


@pytest.fixture
async def sessions(database: Database) -> Sessions:
    """One session, with its first refresh token."""
    sessions = Sessions(database, DueQueue(database))
    async with database.transaction() as connection:
        await sessions.add(connection, NEVER, code="code", token="first", sealed=b"sealed")
    return sessions


async def rotated(database: Database, sessions: Sessions, old: str, new: str) -> bool:
    async with database.transaction() as connection:
        return await sessions.rotate(connection, "ses_1", old=old, new=new, sealed=b"sealed", address=None)


async def test_a_user_code_is_one_devices(database: Database, codes: DeviceCodes) -> None:
    """Another device draws again."""
    async with database.transaction() as connection:
        assert not await codes.add(connection, "other", "user", DEVICE, life=600, interval=5)
        assert await codes.of_device(connection, "other") is None


async def test_a_code_is_decided_once_and_used_once(database: Database, codes: DeviceCodes) -> None:
    """Nothing that is not approved is used."""
    refusal = CodeDecision(CodeState.REFUSED, ALICE)
    async with database.transaction() as connection:
        assert not await codes.sign_in(connection, "device")
        assert await codes.decide(connection, "device", APPROVAL)
        assert not await codes.decide(connection, "device", refusal)
        assert await codes.sign_in(connection, "device")
        assert not await codes.sign_in(connection, "device")


@pytest.mark.parametrize("is_approved", [False, True])
async def test_a_code_that_has_expired(database: Database, codes: DeviceCodes, *, is_approved: bool) -> None:
    """It is neither approved nor used."""
    if is_approved:
        async with database.transaction() as connection:
            await codes.decide(connection, "device", APPROVAL)
    await shift(database, device_code.c.expires_at, 601)
    async with database.transaction() as connection:
        assert not await codes.decide(connection, "device", APPROVAL)
        assert not await codes.sign_in(connection, "device")


async def test_a_code_is_remembered_for_an_hour(database: Database, codes: DeviceCodes) -> None:
    """After its end; a table that is cleaned takes nobody's."""

    async def is_there() -> bool:
        await codes.forget()
        async with database.reading() as connection:
            return await codes.of_device(connection, "device") is not None

    assert await is_there()
    await shift(database, device_code.c.expires_at, 600 + 3590)
    assert await is_there()
    await shift(database, device_code.c.expires_at, 20)
    assert not await is_there()


async def test_what_is_not_approved_is_not_refused(database: Database, codes: DeviceCodes) -> None:
    """What a leaver has used is a session's matter, and what they refused stays theirs."""
    async with database.transaction() as connection:
        await codes.decide(connection, "device", APPROVAL)
        await codes.sign_in(connection, "device")
        await codes.refuse_all(connection, ALICE)
        found = await codes.of_device(connection, "device")
    assert found is not None
    assert found.state is CodeState.SIGNED_IN


async def test_a_token_is_used_once(database: Database, sessions: Sessions) -> None:
    """The second use changes nothing."""
    assert await rotated(database, sessions, "first", "second")
    assert not await rotated(database, sessions, "first", "third")
    assert not await rotated(database, sessions, "nobody's", "third")


async def test_a_session_that_ended_or_was_not_used_for_its_life_renews_nothing(
    database: Database, sessions: Sessions
) -> None:
    """Also while its row is there."""
    await shift(database, session.c.expires_at, 3601)
    assert not await rotated(database, sessions, "first", "second")
    await shift(database, session.c.expires_at, -3601)
    async with database.transaction() as connection:
        await sessions.end(connection, "ses_1")
    assert not await rotated(database, sessions, "first", "second")


async def test_a_stolen_session_stays_a_stolen_one(database: Database, sessions: Sessions) -> None:
    """A second end of the session changes nothing: its keys are blocked."""
    async with database.transaction() as connection:
        await sessions.end(connection, "ses_1", is_theft=True)
        await sessions.end(connection, "ses_1")
        await sessions.end_all(connection, ALICE)
    await shift(database, due.c.next_attempt_at, 61)
    task = await DueQueue(database).claim(Kind.SESSION_END)
    assert task is not None
    assert (task.subject, task.payload) == ("ses_1", {"theft": True})


async def test_what_is_forgotten(database: Database, sessions: Sessions) -> None:
    """Sealed answers after a minute, used tokens after 30 days, and a session that nobody ended after its life."""

    async def known(name: str) -> tuple[bool, bool]:
        async with database.reading() as connection:
            found = await sessions.known(connection, name)
        return found is not None, found is not None and found.sealed is not None

    assert await known("code") == (True, True)
    await sessions.forget()
    assert await known("code") == (True, True)
    await shift(database, session_token.c.used_at, 61)
    await sessions.forget()
    assert await known("code") == (True, False)
    await shift(database, session_token.c.used_at, 30 * 86400)
    await sessions.forget()
    assert (await known("code"), await known("first")) == ((False, False), (True, False))
    await shift(database, session.c.expires_at, 3601)
    await sessions.forget()
    assert await known("first") == (False, False)


async def test_what_ends_while_others_are_forgotten(tmp_path: Path) -> None:
    """Its tokens go with it, and not before: what has no session would stay for ever."""
    seconds = count(0.0)  # one more at each look
    async with aclosing(Database(f"sqlite+aiosqlite:///{tmp_path}/ticking.sqlite3", lambda: next(seconds))) as it:
        ticking = Sessions(it, DueQueue(it))
        for number in range(60):
            new = replace(NEVER, id=f"ses_{number}", life=60)
            async with it.transaction() as connection:
                await ticking.add(connection, new, code=f"code {number}", token=f"token {number}", sealed=b"sealed")
        for _ in range(60):
            await ticking.forget()
            async with it.reading() as connection:
                have = set((await connection.execute(sa.select(session_token.c.session_id))).scalars())
                assert have == set((await connection.execute(sa.select(session.c.id))).scalars())
        assert have == set()


async def test_a_session_that_ended_is_kept_until_its_keys_are_gone(database: Database, sessions: Sessions) -> None:
    """However long that takes: what is left to do is found by it."""
    async with database.transaction() as connection:
        await sessions.end(connection, "ses_1")
    await shift(database, session.c.expires_at, 3601)
    await sessions.forget()
    assert await sessions.ended(ALICE) == ["ses_1"]
    found = await sessions.find("ses_1")
    assert (found is not None and found.is_ended, await sessions.of_person(ALICE)) == (True, [])
    async with database.transaction() as connection:
        await sessions.remove(connection, "ses_1")
    assert await sessions.find("ses_1") is None


async def test_a_session_that_was_not_used_for_its_life_is_none(database: Database, sessions: Sessions) -> None:
    """Before it is forgotten, too."""
    assert await sessions.find("ses_1") is not None
    await shift(database, session.c.expires_at, 3601)
    assert (await sessions.find("ses_1"), await sessions.of_person(ALICE)) == (None, [])
