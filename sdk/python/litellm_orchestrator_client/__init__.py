"""A typed client of litellm-orchestrator. `api` has a module for each operation, `models` the bodies."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ("Client", "OrchestratorError", "TokenError", "async_pages", "exchange", "pages", "result")

if TYPE_CHECKING:
    from .client import Client, OrchestratorError, TokenError, async_pages, exchange, pages, result
else:
    # At their first use (PEP 562): `cli` is imported through here, and starts in a quarter of the time without them.
    def __getattr__(name: str) -> Any:
        if name in __all__:
            return getattr(import_module(f"{__name__}.client"), name)
        if name in {"client", "models", "types"}:  # imported with it
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
