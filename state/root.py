"""The table `root`: the secret from which names derive. The migration draws it, so all replicas have the same one."""

from __future__ import annotations

import sqlalchemy as sa

from state.database import Database
from state.tables import root


class Root:
    """The secret. It never changes, so it is read once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._secret: bytes | None = None

    async def secret(self) -> bytes:
        """32 random bytes. Raises DatabaseUnavailableError."""
        if self._secret is None:
            async with self._database.reading() as connection:
                self._secret = bytes((await connection.execute(sa.select(root.c.secret))).scalar_one())
        return self._secret
