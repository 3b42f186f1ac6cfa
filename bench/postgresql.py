"""The PostgreSQL server of a run: the one that libpq's variables name (PGHOST, ...), which `bench/run` sets."""

from __future__ import annotations

import os

import psycopg


def database_url(name: str) -> str:
    """The SQLAlchemy URL of a new, empty database `name` on that server."""
    with psycopg.connect(dbname="postgres", autocommit=True) as connection:
        connection.execute(f"drop database if exists {name} with (force)".encode())
        connection.execute(f"create database {name}".encode())
    user, password = os.environ["PGUSER"], os.environ["PGPASSWORD"]
    return f"postgresql+psycopg://{user}:{password}@{os.environ['PGHOST']}:{os.environ['PGPORT']}/{name}"
