"""What every answer tells a browser, also one that no application gives."""

from __future__ import annotations

FOR_BROWSERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
"""A browser does not guess the type of an answer, and tells no other site the address of a page."""
