"""What every answer tells a browser, also one that no application gives."""

from __future__ import annotations

FOR_BROWSERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
"""Nothing is taken for what it does not say that it is, and no other site learns where somebody came from."""
