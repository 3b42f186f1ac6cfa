"""A typed client of litellm-orchestrator. `api` has a module for each operation, `models` the bodies."""

from .client import Client, OrchestratorError, async_pages, pages, result

__all__ = ("Client", "OrchestratorError", "async_pages", "pages", "result")
