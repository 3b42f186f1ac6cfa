"""Which errors of a database are an outage, which ends, and which are a fault of ours, which does not.

An outage is a 503: the same request may succeed later. Everything else is a 500, and its traceback is logged.
"""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa

_SQLSTATE_CLASSES = {
    "08",  # connection exception
    "40",  # serialization failure, deadlock
    "53",  # insufficient resources: disk full, out of memory, too many connections
    "57",  # operator intervention: shutdown, statement timeout, starting up
    "58",  # system error: input and output
}
_SQLSTATES = {
    "25006",  # read-only: a standby, or a server before its promotion
    "25P03",  # idle in a transaction for too long: we did not get on with it
    "25P04",  # transaction timeout
    "55P03",  # lock timeout
}
"""PostgreSQL's: https://www.postgresql.org/docs/current/errcodes-appendix.html"""
_SQLITE_CODES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
"""SQLite's primary result codes: https://www.sqlite.org/rescode.html"""
_PRIMARY_CODE = 0xFF


def is_outage(error: Exception) -> bool:
    """Whether `error`, of SQLAlchemy or of a driver, says that the database cannot be used at the moment.

    The server's own code decides if there is one: the drivers' classes are too coarse, since a missing table is an
    OperationalError in SQLite, and a standby that was not promoted yet is an InternalError in PostgreSQL. Without a
    code the connection was lost, or none was made in time.
    """
    cause = getattr(error, "orig", None) or error
    if (sqlstate := getattr(cause, "sqlstate", None)) is not None:
        return sqlstate[:2] in _SQLSTATE_CLASSES or sqlstate in _SQLSTATES
    if (code := getattr(cause, "sqlite_errorcode", None)) is not None:
        return code & _PRIMARY_CODE in _SQLITE_CODES
    is_lost = isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
    return is_lost or isinstance(
        error, (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError, sqlite3.OperationalError, OSError)
    )
