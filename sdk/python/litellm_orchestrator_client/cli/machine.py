"""What the commands need of the machine. Tests give another one."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_data_path

from .clock import Clock, SystemClock
from .errors import CommandError, SignInFirstError
from .renewal import Renewal
from .ring import Ring
from .session import Session, owner_ref
from .store import Store

if TYPE_CHECKING:
    import httpx

    from .wire import Wire


def _has_browser(environ: Mapping[str, str]) -> bool:
    """Whether a browser can show a page to the person who types. One inside the terminal would take the terminal."""
    if environ.get("SSH_CONNECTION") or environ.get("CI"):
        return False
    return platform.system() != "Linux" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def _open_page(url: str) -> bool:
    import webbrowser

    return webbrowser.open(url)


@dataclass
class Machine:
    """Clock, environment, folder, keyring, browser, network."""

    clock: Clock = field(default_factory=SystemClock)
    environ: MutableMapping[str, str] = field(default_factory=lambda: os.environ)
    ring: Ring = field(default_factory=Ring)
    open_page: Callable[[str], bool] = _open_page
    transport: httpx.BaseTransport | None = None

    @property
    def folder(self) -> Path:
        """Where everything is kept."""
        given = self.environ.get("LITELLM_KEY_HOME")
        return Path(given).expanduser() if given else user_data_path("litellm-key", appauthor=False)

    @property
    def home(self) -> Path:
        """Where tools look for their settings."""
        return Path(self.environ.get("HOME") or Path.home())

    @property
    def has_browser(self) -> bool:
        """Whether a page can be opened for the person who types."""
        return _has_browser(self.environ)

    def store(self) -> Store:
        """The sessions of the folder."""
        return Store(self.folder, self.ring)

    def wire(self, service: str) -> Wire:
        """The requests to a service."""
        from .wire import Wire

        return Wire(service, self.clock, transport=self.transport)

    def renewal(self) -> Renewal:
        """The keys of the sessions."""
        return Renewal(self.store(), self.clock, self.wire, self.transport)

    def choose(self, service: str | None, owner: str | None) -> Session:
        """The session that is meant: the last sign-in of those that match. Raises SignInFirstError if none does."""
        sessions = self.store().list()
        service = service or self.environ.get("LITELLM_KEY_SERVICE")
        found = [session for session in sessions if not service or session.service == service]
        if service and not found:  # as a person writes it; `configure` writes the session's own
            from .wire import service_url

            wanted = service_url(service, allow_http=True)
            found = [session for session in sessions if session.service == wanted]
        if not found:
            raise SignInFirstError(f"Sign in first: litellm-key login {service or 'https://…'}")
        if owner is None:
            return found[0]
        for session in found:
            if session.owner == owner_ref(owner):
                return session
        raise SignInFirstError(
            f"Nobody is signed in here for {owner_ref(owner)}: litellm-key login {found[0].service}, "
            "and choose it on the page"
        )

    def named_service(self, service: str | None) -> str:
        """The service that is meant, also where nobody is signed in. Raises CommandError if nothing says which."""
        from .wire import service_url

        named = service or self.environ.get("LITELLM_KEY_SERVICE")
        if named:
            return service_url(named)
        services = {session.service for session in self.store().list()}
        if len(services) == 1:
            return services.pop()
        raise CommandError("Which service? Use --service https://…, or set LITELLM_KEY_SERVICE")
