"""The tables `directory_user`, `directory_stranger` and `directory_sweep`: LiteLLM's users as far as we know."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Container, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain import refs
from domain.directory import DirectoryEntry, Stranger, Sweep, Window
from domain.users import UserStatus
from state.database import Database
from state.tables import directory_stranger, directory_sweep, directory_user, offboarding

_CHUNK = 5000
_columns = directory_user.c
_strangers = directory_stranger.c
_position = directory_sweep.c
# What a search looks at begins with the id in lower case, as Python has it: databases lower-case fewer letters.
_is_canonical = sa.func.substr(_columns.searched, 1, sa.func.length(_columns.user_id)) == _columns.user_id
_is_leaving = sa.exists().where(offboarding.c.user_id == _columns.user_id)
_WITH_STATUS = {
    UserStatus.OFFBOARDING: (_is_leaving,),
    UserStatus.OVER_BUDGET: (_columns.is_over_budget, ~_is_leaving),
    UserStatus.ACTIVE: (~_columns.is_over_budget, ~_is_leaving),
}


def _is_of_kind(kind: str) -> sa.ColumnElement[bool]:
    return sa.and_(_columns.user_id > f"{kind}:", _columns.user_id < f"{kind};")


class Directory:
    """The rows. Methods with a `connection` run in the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, *, after: str | None, text: str | None, status: UserStatus | None, kind: str | None = None, limit: int
    ) -> list[tuple[str, bool]]:
        """The first `limit` users after `after`, in order, and whether each is being off-boarded.

        Only those whose id is in lower case: no other can be named. `text` is in lower case. The status is that of the
        last sweep.
        """
        query = sa.select(_columns.user_id, _is_leaving).where(_is_canonical).order_by(_columns.user_id).limit(limit)
        query = query if after is None else query.where(_columns.user_id > after)
        query = query if text is None else query.where(_columns.searched.contains(text, autoescape=True))
        query = query if status is None else query.where(*_WITH_STATUS[status])
        query = query if kind is None else query.where(_is_of_kind(kind))
        async with self._database.reading() as connection:
            return [(user_id, bool(is_leaving)) for user_id, is_leaving in await connection.execute(query)]

    async def ids(self) -> AsyncIterator[Sequence[str]]:
        """The ids of all users in chunks."""
        after = ""
        while True:
            query = sa.select(_columns.user_id).where(_columns.user_id > after).order_by(_columns.user_id)
            async with self._database.reading() as connection:
                chunk = (await connection.execute(query.limit(_CHUNK))).scalars().all()
            if not chunk:
                return
            yield chunk
            after = chunk[-1]

    async def misspelt(self, limit: int) -> list[str]:
        """The first `limit` ids that are not in lower case."""
        query = sa.select(_columns.user_id).where(~_is_canonical).order_by(_columns.user_id).limit(limit)
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).scalars())

    async def count_strangers(self) -> int:
        """The number of users that are no Backstage users, and have an e-mail address."""
        query = sa.select(sa.func.count()).select_from(directory_stranger)
        async with self._database.reading() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def among(self, user_ids: Collection[str]) -> frozenset[str]:
        """Those of `user_ids` that are in the directory."""
        query = sa.select(_columns.user_id).where(_columns.user_id.in_(user_ids))
        async with self._database.reading() as connection:
            return frozenset((await connection.execute(query)).scalars())

    async def leaving_among(self, user_ids: Collection[str]) -> dict[str, bool]:
        """Those of `user_ids` that are in the directory, and whether each is being off-boarded."""
        query = sa.select(_columns.user_id, _is_leaving).where(_columns.user_id.in_(user_ids))
        async with self._database.reading() as connection:
            return {user_id: bool(is_leaving) for user_id, is_leaving in await connection.execute(query)}

    async def uids(self, user_ids: Collection[str]) -> dict[str, str | None]:
        """The catalog's uids of those of `user_ids` that are in the directory."""
        query = sa.select(_columns.user_id, _columns.entity_uid).where(_columns.user_id.in_(user_ids))
        async with self._database.reading() as connection:
            return {row.user_id: row.entity_uid for row in await connection.execute(query)}

    async def software(self) -> dict[str, str | None]:
        """The groups and components in the directory, with the catalog's uids."""
        is_software = sa.or_(*(_is_of_kind(kind) for kind in refs.SOFTWARE))
        query = sa.select(_columns.user_id, _columns.entity_uid).where(is_software)
        async with self._database.reading() as connection:
            return {row.user_id: row.entity_uid for row in await connection.execute(query)}

    async def first_seen(self, user_ids: Collection[str]) -> dict[str, float]:
        """When those of `user_ids` that are in the directory came into it, in seconds since the epoch."""
        query = sa.select(_columns.user_id, _columns.first_seen_at).where(_columns.user_id.in_(user_ids))
        async with self._database.reading() as connection:
            return {row.user_id: row.first_seen_at for row in await connection.execute(query)}

    async def with_an_address_of(self, user_ids: Container[str], limit: int) -> list[tuple[str, str]]:
        """The first `limit` users that are no Backstage users, and in `user_ids` who has the same e-mail address."""
        same = sa.and_(_strangers.address == _columns.address, _strangers.user_id != _columns.user_id)
        query = sa.select(_strangers.user_id, _columns.user_id).join_from(directory_stranger, directory_user, same)
        found: list[tuple[str, str]] = []
        async with self._database.reading() as connection:
            for stranger, user_id in await connection.execute(query.order_by(_strangers.user_id, _columns.user_id)):
                if len(found) < limit and user_id in user_ids:
                    found.append((stranger, user_id))
        return found

    async def put(self, connection: AsyncConnection, entries: Collection[DirectoryEntry]) -> None:
        """Adds or replaces users, as seen by the running sweep."""
        await self._put(connection, directory_user, entries)

    async def _put(
        self, connection: AsyncConnection, table: sa.Table, rows: Collection[DirectoryEntry | Stranger]
    ) -> None:
        if not rows:
            return
        values: dict[str, Any] = {"sweep": sa.select(_position.number).scalar_subquery()}
        if "first_seen_at" in table.c:
            values["first_seen_at"] = self._database.now()
        insert = self._database.insert(table).values(values)
        names = [field.name for field in fields(next(iter(rows)))]
        changed = {name: insert.excluded[name] for name in ("sweep", *names) if not table.c[name].primary_key}
        put = insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed)
        # Not `asdict`, which takes four times as long: it copies what cannot change.
        await connection.execute(put, [{name: getattr(row, name) for name in names} for row in rows])

    async def remove(self, connection: AsyncConnection, user_ids: Sequence[str]) -> None:
        """Removes users: LiteLLM does not have them any more."""
        await connection.execute(sa.delete(directory_user).where(_columns.user_id.in_(user_ids)))

    async def sweep(self) -> Sweep:
        """The running sweep."""
        async with self._database.reading() as connection:
            return Sweep(**(await connection.execute(sa.select(directory_sweep))).mappings().one())

    async def advanced_within(self, seconds: float) -> bool:
        """Whether some replica read a page within the last `seconds`."""
        recent = sa.select(_position.number).where(_position.advanced_at > self._database.now() - seconds)
        async with self._database.reading() as connection:
            return (await connection.execute(recent)).first() is not None

    async def start(self, sweep: Sweep) -> Sweep | None:
        """Records the start of a sweep, before its first page is read. None if another replica was first."""
        async with self._database.transaction() as connection:
            started = {_position.started_at: self._database.now()}
            update = self._unchanged(sweep).values(started).returning(directory_sweep)
            row = (await connection.execute(update)).mappings().one_or_none()
        return None if row is None else Sweep(**row)

    async def advance(self, sweep: Sweep, reached: Sweep, window: Window) -> Sweep | None:
        """Adds what a page showed and records how far the sweep is now. None if another replica was first."""
        async with self._database.transaction() as connection:
            values = {name: getattr(reached, name) for name in ("position", "total", "nameless")}
            values["tail"] = list(reached.tail)
            update = self._unchanged(sweep).values(values | {"advanced_at": self._database.now()})
            row = (await connection.execute(update.returning(directory_sweep))).mappings().one_or_none()
            if row is not None:
                await self._put(connection, directory_user, window.entries)
                await self._put(connection, directory_stranger, window.strangers)
        return None if row is None else Sweep(**row)

    async def complete(self, sweep: Sweep) -> None:
        """Removes the users that the sweep did not see, and prepares the next one.

        Nobody is removed if it met rows without a name: what LiteLLM fails to show is not gone.
        """
        next_sweep = {"number": sweep.number + 1, "position": 0, "tail": [], "nameless": 0}
        next_sweep["swept_at"] = sweep.started_at
        async with self._database.transaction() as connection:
            is_next = (await connection.execute(self._unchanged(sweep).values(next_sweep))).rowcount
            if is_next and not sweep.nameless:
                for table in (directory_user, directory_stranger):
                    await connection.execute(sa.delete(table).where(table.c.sweep < sweep.number))

    async def count(self) -> int:
        """The number of users."""
        async with self._database.reading() as connection:
            return int((await connection.execute(sa.select(sa.func.count()).select_from(directory_user))).scalar_one())

    @staticmethod
    def _unchanged(sweep: Sweep) -> sa.Update:
        return sa.update(directory_sweep).where(
            _position.number == sweep.number,
            _position.position == sweep.position,
            _position.started_at.is_not_distinct_from(sweep.started_at),
        )
