"""Codes and tokens that this service draws, and their hashes, which are all that it stores of them."""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256

from domain.sessions import CODE_LENGTH, CODE_LETTERS, plain_code
from state.root import Root

_BYTES = 32
_REFRESH = "lor_"


def new_device_code() -> str:
    """A device code of 256 bits."""
    return f"lod_{secrets.token_urlsafe(_BYTES)}"


def new_refresh_token() -> str:
    """A refresh token of 256 bits."""
    return f"{_REFRESH}{secrets.token_urlsafe(_BYTES)}"


def is_refresh_token(token: str) -> bool:
    """Whether it has the form of one. The hashes of used device codes are kept beside those of refresh tokens."""
    return token.startswith(_REFRESH)


def new_user_code() -> str:
    """A user code: 34 bits, so that guesses of it are counted."""
    return "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))


def hash_of(token: str) -> str:
    """The hash of a token. It is long enough to need no salt."""
    return sha256(token.encode()).hexdigest()


async def hash_of_user_code(root: Root, code: str) -> str:
    """The hash of a user code, under the root: without that, all codes could be tried. Raises UpstreamError."""
    return hmac.new(await root.secret(), b"user code " + plain_code(code).encode(), sha256).hexdigest()
