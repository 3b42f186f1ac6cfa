"""`backend.cors` of app-config, interpreted as Backstage does (`readCorsOptions` in `@backstage/backend-defaults`)."""

from __future__ import annotations

import re
from typing import Any

from settings.model import Cors

_OURS = ("Effective-Within", "ETag", "Link", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id")


def middleware_options(cors: Cors) -> dict[str, Any]:
    """Arguments for Starlette's CORSMiddleware. `*` in an origin matches anything but `/`; case does not matter."""
    patterns = [re.escape(origin).replace(r"\*", "[^/]*") for origin in cors.origins]
    return {
        "allow_origin_regex": f"(?i:{'|'.join(patterns)})",
        "allow_methods": cors.methods,
        "allow_headers": cors.allowed_headers,
        "expose_headers": (*cors.exposed_headers, *_OURS),
        "allow_credentials": cors.credentials,
        "max_age": cors.max_age,
    }
