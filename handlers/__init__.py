"""One function for each operationId of `openapi.yaml`, named after it in snake_case.

A handler names what it needs as parameters: `services`, `principal` (absent on open operations), `body`, and the
path parameters in snake_case. It calls one service and answers; `edge/binding.py` gives it what it names.
"""

from handlers.cleanup import get_cleanup, run_cleanup
from handlers.documents import get_docs, get_docs_asset, get_openapi_json, get_openapi_yaml
from handlers.health import get_liveness, get_readiness
from handlers.keys import create_user_key, delete_user_key, get_user_keys
from handlers.users import create_user, get_user

__all__ = [
    "create_user",
    "create_user_key",
    "delete_user_key",
    "get_cleanup",
    "get_docs",
    "get_docs_asset",
    "get_liveness",
    "get_openapi_json",
    "get_openapi_yaml",
    "get_readiness",
    "get_user",
    "get_user_keys",
    "run_cleanup",
]
