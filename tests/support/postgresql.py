"""Empty databases on the PostgreSQL of `make postgresql-test` and of the live suite, and servers to be killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.support.raw_http import free_port

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
_POLL = 0.01
_AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")


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


@dataclass(frozen=True)
class Server:
    """A PostgreSQL of its own on loopback, from Debian's package. Root runs it as the package's user."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """SQLAlchemy's, of the one database there is."""
        return f"postgresql+psycopg://litellm@127.0.0.1:{self.port}/postgres"

    @property
    def _files(self) -> Path:
        return self.folder / "data"

    def initialise(self) -> None:
        """An empty one, that is not started."""
        self._run("initdb", "-D", self._files, "-U", "litellm", "-A", "trust", "--no-sync", "-E", "UTF8")

    def copy(self, primary: Server) -> None:
        """A standby of the primary, that is not started."""
        source = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", "litellm")
        self._run("pg_basebackup", "-D", self._files, *source, "-R", "-c", "fast", "--no-sync")

    def start(self) -> None:
        """Returns when it accepts connections."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "-D", self._files, "-l", self.folder / "log", "-o", options, "-w", "start")

    def promote(self) -> None:
        """Makes a standby a primary."""
        self._run("pg_ctl", "-D", self._files, "-w", "promote")

    def kill(self) -> None:
        """Ends each of its processes with SIGKILL."""
        identifier = self._files / "postmaster.pid"
        postmaster = int(identifier.read_text().split()[0])
        os.kill(postmaster, signal.SIGSTOP)  # it starts no more
        listed = subprocess.run(["pgrep", "-P", str(postmaster)], capture_output=True, text=True, check=True).stdout
        processes = [postmaster, *map(int, listed.split())]
        for process in processes:
            os.kill(process, signal.SIGKILL)
        # They are no children of ours, so nothing tells when they have ended; it takes milliseconds.
        while any(map(_runs, processes)):
            time.sleep(_POLL)
        # Where nobody has waited for the process yet, its number would look taken to the next one.
        identifier.unlink()

    def stop(self) -> None:
        """Ends it, if it runs."""
        if (self._files / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", self._files, "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str | Path) -> None:
        [programs] = _PROGRAMS
        command = [programs / program, *arguments]
        whole = [*_AS_POSTGRES, *command] if os.geteuid() == 0 else command
        subprocess.run(whole, check=True, stdout=subprocess.DEVNULL, cwd="/")


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def server() -> Iterator[Server]:
    """A server that is neither initialised nor started. It is stopped and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    made = Server(folder, free_port())
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)


def main() -> None:
    """Runs a command beside a server, whose address is its DATABASE_URL. Exits with its code."""
    with server() as made:
        made.initialise()
        made.start()
        address = made.url.replace("+psycopg", "")
        code = subprocess.run(sys.argv[1:], check=False, env=os.environ | {"DATABASE_URL": address}).returncode
    sys.exit(code)


if __name__ == "__main__":
    main()
