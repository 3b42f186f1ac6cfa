"""What this machine is signed in to: a file for each session, with its secrets in the keyring or in the file.

The secrets of a session are one text and are replaced in one step, so that a crash leaves the old or the new ones. A
second file, the status, tells the other processes of this machine when a key was last known to work, and when the
service last did not answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import files
from .clock import Moment
from .errors import CommandError, SignInFirstError
from .ring import Ring, RingError
from .session import Session, Tokens

LONGEST_RENEWAL = 15.0
"""Seconds for which a process may have the lock of a session."""
IN_KEYRING = "the system's keyring"
SESSIONS, CONFIGURED = "sessions", "configured"
"""What the folder has: of the sign-ins, and of `configure`."""


class BusyError(CommandError):
    """Another process has the lock."""


class LockedError(SignInFirstError):
    """The keyring has the secrets, and does not give them."""


class CannotLockError(CommandError):
    """The folder cannot be written, or its file system has no locks."""


@dataclass(frozen=True, slots=True)
class Status:
    """`worked`: when LiteLLM last took the key. `failed`: when the service last did not answer, and why."""

    worked: Moment | None = None
    failed: Moment | None = None
    why: str = ""


class Store:
    """Sessions of one folder."""

    def __init__(self, folder: Path, ring: Ring) -> None:
        self.folder, self._ring = folder, ring
        self._sessions = folder / SESSIONS

    def prepare(self) -> None:
        """Makes the folder. Raises CommandError if nothing can be kept there."""
        try:
            files.make_own(self.folder, SESSIONS, CONFIGURED)
            files.make_private(self._sessions)
            files.replace(self._sessions / ".writable", b"")
        except OSError as error:
            raise CommandError(
                f"{self.folder} cannot be written ({error.strerror}): set LITELLM_KEY_HOME to a folder that can"
            ) from error

    def list(self) -> list[Session]:
        """Those of the folder without their secrets, the last sign-in first."""
        found = []
        for path in self._sessions.glob("*.json"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                found.append(self._session(path))
        return sorted(found, key=lambda session: session.signed_in_at, reverse=True)

    def tokens(self, session: Session) -> Tokens:
        """The secrets that it has now. Raises SignInFirstError if it has none, or if they cannot be read."""
        try:
            body = json.loads(self._path(session).read_text("utf-8"))
            if body.get("ended"):
                raise SignInFirstError(str(body["ended"]))
            text = self._ring.read(session.name) if body["keptIn"] == IN_KEYRING else None
            secrets = body["tokens"] if body["keptIn"] != IN_KEYRING else json.loads(text or "{}")
            return Tokens.from_json(secrets)
        except RingError as error:
            raise LockedError(
                f"The key is in {IN_KEYRING}, and {error}: unlock it, or sign in again: "
                f"litellm-key login {session.service}"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SignInFirstError(f"Sign in first: litellm-key login {session.service}") from error

    def add(self, session: Session, tokens: Tokens, *, use_keyring: bool = True) -> tuple[Session, str]:
        """Keeps a new session. Returns it, and why the keyring has not its secrets, or "". Raises CommandError."""
        why = ""
        kept = replace(session, kept_in=IN_KEYRING)
        try:
            if not use_keyring:
                raise RingError("--no-keyring says so")  # noqa: TRY301  # one way to the file
            self._ring.write(session.name, json.dumps(tokens.to_json()))
        except RingError as error:
            why, kept = str(error), replace(session, kept_in=str(self._path(session)))
        self._write(kept, tokens)
        self.note(kept, Status(worked=tokens.received))
        return kept, why

    def update(self, session: Session, tokens: Tokens) -> None:
        """Replaces the secrets. Raises CommandError."""
        if session.kept_in == IN_KEYRING:
            try:
                self._ring.write(session.name, json.dumps(tokens.to_json()))
            except RingError as error:
                raise CommandError(f"The new key could not be kept in {IN_KEYRING}: {error}") from error
        else:
            self._write(session, tokens)

    def end(self, session: Session, why: str) -> None:
        """Forgets the secrets, and remembers why, so that nobody asks the service again."""
        self._forget(session)
        with suppress(CommandError):
            self._write(replace(session, ended=why), None)

    def remove(self, session: Session) -> None:
        """Forgets the session. The lock's file stays, since somebody may wait for it."""
        self._forget(session)
        for suffix in (".json", ".status"):
            try:
                self._path(session, suffix).unlink(missing_ok=True)
            except OSError as error:
                raise CommandError(f"{self._path(session, suffix)} cannot be removed ({error.strerror})") from error

    @contextmanager
    def locked(self, session: Session, patience: float = LONGEST_RENEWAL) -> Iterator[None]:
        """Nobody else on this machine renews this session meanwhile. Raises BusyError and CannotLockError."""
        from filelock import FileLock, Timeout

        lock = FileLock(self._path(session, ".lock"), timeout=patience, mode=0o600)
        try:
            lock.acquire()
        except Timeout as error:
            raise BusyError("Another litellm-key waits for the service. Try again in a minute.") from error
        except (OSError, NotImplementedError) as error:
            raise CannotLockError(
                f"{self._path(session, '.lock')} cannot be locked ({error}): set LITELLM_KEY_HOME to another folder"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def status(self, session: Session) -> Status:
        """What the processes of this machine know."""
        try:
            body = json.loads(self._path(session, ".status").read_text("utf-8"))
            worked, failed = (Moment(**body[name]) if body[name] else None for name in ("worked", "failed"))
            return Status(worked, failed, body["why"])
        except (OSError, ValueError, KeyError, TypeError):
            return Status()

    def note(self, session: Session, status: Status) -> None:
        """Tells the other processes, if that is possible."""
        with suppress(OSError):
            files.replace(self._path(session, ".status"), json.dumps(asdict(status)).encode())

    def _path(self, session: Session, suffix: str = ".json") -> Path:
        return self._sessions / f"{session.name}{suffix}"

    def _forget(self, session: Session) -> None:
        if session.kept_in == IN_KEYRING:
            with suppress(RingError):
                self._ring.delete(session.name)

    def _write(self, session: Session, tokens: Tokens | None) -> None:
        body: dict[str, Any] = {
            "service": session.service, "principal": session.principal, "owner": session.owner,
            "sessionId": session.session_id, "signedInAt": session.signed_in_at, "keptIn": session.kept_in,
            "ended": session.ended,
        }  # fmt: skip
        if tokens is not None and session.kept_in != IN_KEYRING:
            body["tokens"] = tokens.to_json()
        path = self._path(session)
        try:
            files.replace(path, json.dumps(body, indent=2).encode())
        except OSError as error:
            raise CommandError(f"{path} cannot be written ({error.strerror})") from error

    @staticmethod
    def _session(path: Path) -> Session:
        body = json.loads(path.read_text("utf-8"))
        return Session(
            service=body["service"], principal=body["principal"], owner=body["owner"], session_id=body["sessionId"],
            signed_in_at=body["signedInAt"], kept_in=body["keptIn"], ended=body["ended"],
        )  # fmt: skip
