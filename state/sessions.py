"""The tables `session` and `session_token`: signed-in devices, and the refresh tokens that they have had, as hashes.

A session that has ended gives nothing any more; its row stays until its keys are gone, which a task of the due queue
sees to, whatever stops meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.due import Kind
from domain.sessions import Device, Session, source_of_session
from state.database import Database
from state.due import DueQueue
from state.tables import session, session_token, short_key

_SEALED_SECONDS = 60.0
"""A sealed answer is of use for half of that."""
_USED_SECONDS = 30 * 86400.0
"""A used token that is older tells nothing any more: its session does not end by it."""
_PATIENCE_SECONDS = 60.0
"""For whoever ends a session to delete its keys. Then the due queue does."""
_columns = session.c
_tokens = session_token.c


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A refresh token of a session. `used_ago` is in seconds, None if it was not used; `sealed` is what it got then."""

    session: Session
    used_ago: float | None
    sealed: bytes | None = field(repr=False)


class Sessions:
    """The rows. Methods with a `connection` run in the caller's transaction."""

    def __init__(self, database: Database, due: DueQueue) -> None:
        self._database = database
        self._due = due

    async def add(self, connection: AsyncConnection, new: Session, *, code: str, token: str, sealed: bytes) -> None:
        """Records a session that begins now, with its first refresh token, and what the device `code` got."""
        now = self._database.now()
        device = new.device
        row = {
            "id": new.id,
            "principal": new.principal,
            "owner": new.owner,
            "client_id": device.client_id,
            "device_name": device.name,
            "tool": device.tool,
            "address": device.address,
            "life": new.life,
        }
        times = {"created_at": now, "used_at": now, "expires_at": now + new.life}
        await connection.execute(sa.insert(session).values(**row, **times))
        used = {"hash": code, "session_id": new.id, "sealed": sealed}
        await connection.execute(sa.insert(session_token).values(**used, used_at=now))
        await connection.execute(sa.insert(session_token).values(hash=token, session_id=new.id))

    async def find(self, session_id: str) -> Session | None:
        """The session, also one that has ended, until its keys are gone."""
        is_there = sa.or_(_columns.ended_at.is_not(None), _columns.expires_at > self._database.now())
        found = await self._all(_columns.id == session_id, is_there)
        return next(iter(found), None)

    async def of_person(self, person: str) -> list[Session]:
        """The person's sessions that have not ended, the last used first."""
        return await self._all(_columns.principal == person, *self._is_living())

    async def known(self, connection: AsyncConnection, token_hash: str) -> KnownToken | None:
        """The session of a refresh token, also if it has ended. Reads only."""
        now = self._database.now()
        used_ago = (now - _tokens.used_at).label("used_ago")
        query = sa.select(*self._select(), used_ago, _tokens.sealed)
        query = query.join(session_token, _tokens.session_id == _columns.id).where(_tokens.hash == token_hash)
        row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else KnownToken(_session(row), row["used_ago"], row["sealed"])

    async def rotate(
        self, connection: AsyncConnection, session_id: str, *, old: str, new: str, sealed: bytes, address: str | None
    ) -> bool:
        """Puts one refresh token in the place of another, and keeps what that one got.

        Returns False, and the transaction must not commit, if the session has ended or the token was used meanwhile.
        """
        now = self._database.now()
        using = sa.update(session).where(_columns.id == session_id, *self._is_living())
        used = {"used_at": now, "expires_at": now + _columns.life, "address": address}
        if (await connection.execute(using.values(**used))).rowcount != 1:
            return False
        is_unused = (_tokens.hash == old, _tokens.used_at.is_(None))
        spending = sa.update(session_token).where(*is_unused).values(used_at=now, sealed=sealed)
        if (await connection.execute(spending)).rowcount != 1:
            return False
        await connection.execute(sa.insert(session_token).values(hash=new, session_id=session_id))
        return True

    async def end(self, connection: AsyncConnection, session_id: str, *, is_theft: bool = False) -> None:
        """Ends the session: it gives nothing any more. What becomes of its keys is due, and kept in the task."""
        await self._end(connection, _columns.id == session_id, is_theft=is_theft)

    async def end_all(self, connection: AsyncConnection, owner: str) -> None:
        """Ends the sessions that a person has signed in, or that give keys of `owner`."""
        await self._end(connection, sa.or_(_columns.principal == owner, _columns.owner == owner))

    async def ended(self, owner: str) -> list[str]:
        """The ids of ended sessions of a person, or of keys of `owner`, whose keys may not be gone yet."""
        whose = sa.or_(_columns.principal == owner, _columns.owner == owner)
        query = sa.select(_columns.id).where(whose, _columns.ended_at.is_not(None))
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).scalars())

    async def remove(self, connection: AsyncConnection, session_id: str) -> None:
        """Forgets an ended session whose keys are taken care of."""
        await connection.execute(sa.delete(session_token).where(_tokens.session_id == session_id))
        await connection.execute(sa.delete(session).where(_columns.id == session_id))
        await self._due.remove(connection, Kind.SESSION_END, session_id)

    async def forget(self) -> None:
        """Deletes sessions that were not used for their life: no key lives longer. And what old tokens had got."""
        now = self._database.now()
        is_over = sa.select(_columns.id).where(_columns.expires_at < now, _columns.ended_at.is_(None))
        has_tokens = sa.exists().where(_tokens.session_id == _columns.id)
        is_old = (_tokens.used_at < now - _SEALED_SECONDS, _tokens.sealed.is_not(None))
        async with self._database.transaction() as connection:
            await connection.execute(sa.delete(session_token).where(_tokens.session_id.in_(is_over)))
            # One whose life ended since then goes at the next run, with its tokens.
            await connection.execute(sa.delete(session).where(_columns.id.in_(is_over), ~has_tokens))
            await connection.execute(sa.update(session_token).where(*is_old).values(sealed=None))
            await connection.execute(sa.delete(session_token).where(_tokens.used_at < now - _USED_SECONDS))

    async def _end(self, connection: AsyncConnection, which: sa.ColumnElement[bool], *, is_theft: bool = False) -> None:
        ending = sa.update(session).where(which, _columns.ended_at.is_(None)).values(ended_at=self._database.now())
        payload = {"theft": is_theft}
        for row in (await connection.execute(ending.returning(_columns.id, _columns.principal))).all():
            await self._due.schedule(
                connection, Kind.SESSION_END, row.id, due_in=_PATIENCE_SECONDS, owner=row.principal, payload=payload
            )

    def _is_living(self) -> tuple[sa.ColumnElement[bool], ...]:
        return (_columns.ended_at.is_(None), _columns.expires_at > self._database.now())

    def _select(self) -> tuple[sa.ColumnElement[Any], ...]:
        now = self._database.now()
        of_it = (short_key.c.source == sa.literal(source_of_session("")) + _columns.id, short_key.c.expires_at > now)
        living = sa.select(sa.func.count()).select_from(short_key).where(*of_it).scalar_subquery()
        return (*_columns, (_columns.expires_at - now).label("left"), living.label("living_keys"))

    async def _all(self, *conditions: sa.ColumnElement[bool]) -> list[Session]:
        query = sa.select(*self._select()).where(*conditions).order_by(_columns.used_at.desc(), _columns.id)
        async with self._database.reading() as connection:
            return [_session(row) for row in (await connection.execute(query)).mappings()]


def _session(row: Mapping[Any, Any]) -> Session:
    device = Device(row["client_id"], row["device_name"], row["tool"], row["address"])
    names = {name: row[name] for name in Session.__dataclass_fields__ if name in row}
    return Session(**names | {"device": device, "is_ended": row["ended_at"] is not None})
