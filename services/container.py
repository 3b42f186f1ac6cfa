"""What the handlers are given."""

from __future__ import annotations

from dataclasses import dataclass

from services.health import Health
from services.keys import Keys
from services.offboarding.administration import CleanupAdministration
from services.users import Users


@dataclass(frozen=True)
class Services:
    """One of each service, built once by `app.create_app`."""

    users: Users
    keys: Keys
    health: Health
    cleanup: CleanupAdministration
