"""The table `device_code`: devices that ask to be signed in. Codes are stored as hashes only."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.sessions import CodeDecision, CodeState, Device, DeviceCode
from state.database import Database
from state.tables import device_code

_REMEMBERED_SECONDS = 3600.0
"""After its end a code is still told from one that never was."""
_SLOWER_SECONDS = 5.0
"""RFC 8628, section 3.5: for this and all later requests."""
_TOLERANCE_SECONDS = 1.0
"""A network delivers requests that were sent in time closer to each other than that."""
_columns = device_code.c


class DeviceCodes:
    """The rows. Methods with a `connection` run in the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        connection: AsyncConnection,
        device_hash: str,
        user_hash: str,
        device: Device,
        *,
        life: float,
        interval: float,
    ) -> bool:
        """Records a device that asks. Returns whether its user code is free."""
        now = self._database.now()
        described = {"client_id": device.client_id, "device_name": device.name} | {
            "tool": device.tool,
            "address": device.address,
        }
        values = {"device_hash": device_hash, "user_hash": user_hash, "state": CodeState.PENDING} | described
        insert = self._database.insert(device_code).values(
            **values, interval=interval, created_at=now, expires_at=now + life
        )
        inserted = insert.on_conflict_do_nothing().returning(_columns.device_hash)
        return (await connection.execute(inserted)).first() is not None

    async def of_device(self, connection: AsyncConnection, device_hash: str) -> DeviceCode | None:
        """That with this device code. Reads only."""
        return await self._find(connection, _columns.device_hash == device_hash)

    async def of_user(self, connection: AsyncConnection, user_hash: str) -> DeviceCode | None:
        """That with this user code. Reads only."""
        return await self._find(connection, _columns.user_hash == user_hash)

    async def ask(self, connection: AsyncConnection, device_hash: str) -> bool:
        """Records that a device asked whether it is approved. Returns whether it was too soon, and waits longer now."""
        now = self._database.now()
        too_soon = _columns.polled_at > now - _columns.interval + _TOLERANCE_SECONDS
        before = sa.select(too_soon).where(_columns.device_hash == device_hash).with_for_update()
        is_too_soon = bool((await connection.execute(before)).scalar_one_or_none())
        slower = {"interval": _columns.interval + _SLOWER_SECONDS} if is_too_soon else {}
        update = sa.update(device_code).where(_columns.device_hash == device_hash)
        await connection.execute(update.values(polled_at=now, **slower))
        return is_too_soon

    async def decide(self, connection: AsyncConnection, device_hash: str, decision: CodeDecision) -> bool:
        """Approves or refuses what is pending. Returns whether it was."""
        is_open = (_columns.state == CodeState.PENDING, _columns.expires_at > self._database.now())
        update = sa.update(device_code).where(_columns.device_hash == device_hash, *is_open)
        return (await connection.execute(update.values(asdict(decision)))).rowcount == 1

    async def sign_in(self, connection: AsyncConnection, device_hash: str) -> bool:
        """Uses up what is approved. Returns whether it was."""
        is_approved = (_columns.state == CodeState.APPROVED, _columns.expires_at > self._database.now())
        update = sa.update(device_code).where(_columns.device_hash == device_hash, *is_approved)
        return (await connection.execute(update.values(state=CodeState.SIGNED_IN))).rowcount == 1

    async def refuse_all(self, connection: AsyncConnection, owner: str) -> None:
        """Refuses what a person has approved, or what gives keys of `owner`, and was not used yet."""
        whose = sa.or_(_columns.principal == owner, _columns.owner == owner)
        update = sa.update(device_code).where(whose, _columns.state == CodeState.APPROVED)
        await connection.execute(update.values(state=CodeState.REFUSED))

    async def forget(self) -> None:
        """Deletes those that ended an hour ago."""
        async with self._database.transaction() as connection:
            old = _columns.expires_at < self._database.now() - _REMEMBERED_SECONDS
            await connection.execute(sa.delete(device_code).where(old))

    async def _find(self, connection: AsyncConnection, condition: sa.ColumnElement[bool]) -> DeviceCode | None:
        now = self._database.now()
        age, left = (now - _columns.created_at).label("age"), (_columns.expires_at - now).label("left")
        row = (await connection.execute(sa.select(device_code, age, left).where(condition))).mappings().one_or_none()
        return None if row is None else _code(dict(row))


def _code(row: dict[str, Any]) -> DeviceCode:
    device = Device(*(row[name] for name in ("client_id", "device_name", "tool", "address")))
    names = {name: row[name] for name in DeviceCode.__dataclass_fields__ if name in row}
    return DeviceCode(**names | {"device": device, "state": CodeState(row["state"])})
