"""Answers that hold a secret, sealed so that only who sends the same Idempotency-Key again gets them opened.

The key is derived from LiteLLM's master key and the caller's Idempotency-Key (HKDF, RFC 5869): neither is in the
database, so that it alone gives nothing away. Why: `docs/adr/0009-idempotency.md`.
"""

from __future__ import annotations

import base64
import hmac
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Sealing:
    """Names requests, and seals what they were answered. `root` is the secret that all replicas share."""

    def __init__(self, root: str) -> None:
        self._root = root.encode()

    def name(self, subject: str, key: str) -> str:
        """The name under which the request `key` of `subject` is kept: it does not give `key` away."""
        return hmac.new(self._root, _joined("name", subject, key), sha256).hexdigest()

    def seal(self, subject: str, key: str, answer: bytes) -> bytes:
        """`answer`, for whoever sends `key` as `subject`."""
        return self._cipher(subject, key).encrypt(answer)

    def open(self, subject: str, key: str, sealed: bytes) -> bytes | None:
        """What `seal` was given; None where the root has changed since."""
        try:
            return self._cipher(subject, key).decrypt(sealed)
        except InvalidToken:
            return None

    def _cipher(self, subject: str, key: str) -> Fernet:
        derived = HKDF(hashes.SHA256(), 32, salt=None, info=_joined("seal", subject, key)).derive(self._root)
        return Fernet(base64.urlsafe_b64encode(derived))


def _joined(*parts: str) -> bytes:
    """`parts` so that no two lists of them are the same."""
    return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
