"""The composition root: builds clients, state and services from settings, and an ASGI application from those.

Nothing is global, so several services can live in one process.
"""

from app.application import create_app
from app.contract import CONTRACT, contract
from app.foundation import Foundation
from app.orchestrator import Orchestrator
from app.ports import Ports

__all__ = ["CONTRACT", "Foundation", "Orchestrator", "Ports", "contract", "create_app"]
