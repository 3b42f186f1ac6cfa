"""What the handlers are given."""

from __future__ import annotations

from dataclasses import dataclass

from services.audit import Audit
from services.health import Health
from services.keys import Keys
from services.leaks import Leaks
from services.maintenance import Maintenance
from services.minting import Minting
from services.models import Models
from services.offboarding.administration import CleanupAdministration
from services.offboarding.removal import Removal
from services.rotation import Rotation
from services.tiers import Tiers
from services.usage import Usage
from services.user_administration import UserAdministration
from services.users import Users


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
