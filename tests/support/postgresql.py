"""Empty databases on the PostgreSQL of `make postgresql-test` and of the live suite."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg


@asynccontextmanager
async def empty_database() -> AsyncIterator[str]:
    """The SQLAlchemy URL of a new database on the server of `STATE_DATABASE_URL`. It is dropped at the end."""
    server, _, _ = os.environ["STATE_DATABASE_URL"].rpartition("/")
    name = f"orchestrator_{uuid.uuid4().hex}"
    async with await psycopg.AsyncConnection.connect(f"{server}/postgres", autocommit=True) as connection:
        await connection.execute(f"create database {name}".encode())
        try:
            yield f"{server}/{name}".replace("postgresql://", "postgresql+psycopg://")
        finally:
            await connection.execute(f"drop database {name} with (force)".encode())
