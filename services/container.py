"""What the handlers are given."""

from __future__ import annotations

from dataclasses import dataclass

from services.background import Maintenance
from services.changes.audit import Audit
from services.health import Health
from services.keys.create import Minting
from services.keys.keys import Keys
from services.keys.leaks import Leaks
from services.keys.rotate import Rotation
from services.offboarding.administration import CleanupAdministration
from services.offboarding.removal import Removal
from services.usage import Usage
from services.users.administration import UserAdministration
from services.users.models import Models
from services.users.tiers import Tiers
from services.users.users import Users


@dataclass(frozen=True)
class Services:
    """One of each service, built once by `app.create_app`."""

    users: Users
    administration: UserAdministration
    removal: Removal
    tiers: Tiers
    keys: Keys
    minting: Minting
    rotation: Rotation
    leaks: Leaks
    models: Models
    usage: Usage
    audit: Audit
    health: Health
    cleanup: CleanupAdministration
    maintenance: Maintenance
