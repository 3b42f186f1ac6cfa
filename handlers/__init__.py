"""One function for each operationId of `openapi.yaml`, named after it in snake_case.

A handler takes the service that it calls, by its type, and what else it renders; `principal`, except for open
operations; `body`, whose type lists its fields in snake_case; and the parameters of the operation in snake_case, ids of
users in lower case, `if_match` as the versions in it, with `**` those that it does not name. It calls the service once
and renders the result. `edge/binding.py` passes the arguments.
"""

from handlers.audit import get_audit
from handlers.cleanup import get_cleanup, get_cleanup_run, run_cleanup
from handlers.console import get_console, get_console_asset, get_console_settings
from handlers.documents import get_docs, get_docs_asset, get_openapi_json, get_openapi_yaml
from handlers.health import get_liveness, get_metrics, get_readiness
from handlers.keys import (
    create_user_key,
    delete_user_key,
    get_user_key,
    get_user_keys,
    regenerate_user_key,
    report_key,
    update_user_key,
)
from handlers.usage import get_models, get_user_usage
from handlers.users import create_user, delete_user, get_me, get_user, get_users, update_user

__all__ = [
    "create_user",
    "create_user_key",
    "delete_user",
    "delete_user_key",
    "get_audit",
    "get_cleanup",
    "get_cleanup_run",
    "get_console",
    "get_console_asset",
    "get_console_settings",
    "get_docs",
    "get_docs_asset",
    "get_liveness",
    "get_me",
    "get_metrics",
    "get_models",
    "get_openapi_json",
    "get_openapi_yaml",
    "get_readiness",
    "get_user",
    "get_user_key",
    "get_user_keys",
    "get_user_usage",
    "get_users",
    "regenerate_user_key",
    "report_key",
    "run_cleanup",
    "update_user",
    "update_user_key",
]
