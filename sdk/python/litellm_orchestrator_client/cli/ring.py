"""The system's keyring: macOS's Keychain, Windows' Credential Locker, the Secret Service of a Linux desktop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from threading import Thread
from typing import Protocol, TypeVar

_SERVICE = "litellm-key"
# A locked keyring may ask for a password in a window, which nobody may be there to see.
_PATIENCE = 10.0

T = TypeVar("T")


class Backend(Protocol):
    """What is used of a backend of `keyring`."""

    def get_password(self, service: str, username: str) -> str | None:
        """The secret, or None."""

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keeps it."""

    def delete_password(self, service: str, username: str) -> None:
        """Forgets it."""


class RingError(Exception):
    """There is no keyring, it is locked, or it does not answer. The text says which, in a few words."""


def _system() -> Backend | None:
    """The best backend here; None if there is none that keeps secrets from others."""
    import keyring

    backend = keyring.get_keyring()
    return backend if backend.priority >= 1 else None


def _check_unlocked(backend: Backend) -> None:
    """Raises RingError where reading would show a window for a password: a tool would show it again and again.

    Only the Secret Service says so beforehand. Of a chain of several, the first one has the secrets.
    """
    first = next(iter(getattr(backend, "backends", ())), backend)
    if type(first).__module__ != "keyring.backends.SecretService":
        return
    import secretstorage  # only there where a Secret Service is

    with closing(secretstorage.dbus_init()) as connection:
        if secretstorage.Collection(connection).is_locked():
            raise RingError("it is locked")


class Ring:
    """Secrets by name. Every method raises RingError."""

    def __init__(self, backend: Callable[[], Backend | None] = _system, patience: float = _PATIENCE) -> None:
        self._backend, self._patience = backend, patience

    def read(self, name: str) -> str | None:
        """The secret, or None. Nobody is asked for a password."""

        def read(backend: Backend) -> str | None:
            _check_unlocked(backend)
            return backend.get_password(_SERVICE, name)

        return self._ask(read)

    def write(self, name: str, secret: str) -> None:
        """Keeps it, and reads it back: some accept what they do not keep."""
        self._ask(lambda backend: backend.set_password(_SERVICE, name, secret))
        if self.read(name) != secret:
            raise RingError("it did not keep what it was given")

    def delete(self, name: str) -> None:
        """Forgets it."""
        self._ask(lambda backend: backend.delete_password(_SERVICE, name))

    def _ask(self, call: Callable[[Backend], T]) -> T:
        outcome: list[T | BaseException] = []

        def run() -> None:
            try:
                backend = self._backend()
                if backend is None:
                    raise RingError("there is none")  # noqa: TRY301  # one way out for all
                outcome.append(call(backend))
            except BaseException as error:  # noqa: BLE001  # backends raise whatever their system does
                outcome.append(error)

        # One that waits for a person cannot be told to stop, and must not keep the program.
        thread = Thread(target=run, daemon=True)
        thread.start()
        thread.join(self._patience)
        if not outcome:
            raise RingError(f"it did not answer within {self._patience:.0f} s; it may be locked")
        if isinstance(found := outcome[0], RingError):
            raise found
        if isinstance(found, BaseException):
            locked = type(found).__name__ in {"KeyringLocked", "InitError"}
            raise RingError("it is locked" if locked else f"it failed ({type(found).__name__})")
        return found
