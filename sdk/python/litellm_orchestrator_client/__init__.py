"""A typed client of litellm-orchestrator. `api` has a module for each operation, `models` the bodies."""

from .client import Client, OrchestratorError, TokenError, async_pages, exchange, pages, result

__all__ = ("Client", "OrchestratorError", "TokenError", "async_pages", "exchange", "pages", "result")
