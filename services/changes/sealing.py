"""Requests with an Idempotency-Key, and answers sealed so that only the sender of the same key can open them.

The encryption key is derived from LiteLLM's master key and the caller's Idempotency-Key (HKDF, RFC 5869). The database
contains neither, so it reveals no secret on its own. Why: `docs/adr/0009-idempotency.md`.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from state.changes import IdempotentRequest


@dataclass(frozen=True, slots=True)
class SealedRequest(IdempotentRequest):
    """A request with an Idempotency-Key, which seals and opens its own answer."""

    cipher_key: bytes = field(repr=False)

    def seal(self, answer: bytes) -> bytes:
        """Encrypts `answer`."""
        return Fernet(self.cipher_key).encrypt(answer)

    def unseal(self, sealed: bytes) -> bytes | None:
        """Decrypts what `seal` returned. None if the master key has changed since."""
        try:
            return Fernet(self.cipher_key).decrypt(sealed)
        except InvalidToken:
            return None


class Sealing:
    """Names requests and derives their encryption keys. `root` is the secret that all replicas share."""

    def __init__(self, root: str) -> None:
        self._root = root.encode()

    def request(self, subject: str, key: str, content: Any) -> SealedRequest:
        """The request of `subject` with the Idempotency-Key `key`. `content` is all that it asks for, as JSON."""
        name = hmac.new(self._root, _joined("name", subject, key), sha256).hexdigest()
        fingerprint = sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
        derived = HKDF(hashes.SHA256(), 32, salt=None, info=_joined("seal", subject, key)).derive(self._root)
        return SealedRequest(name, fingerprint, base64.urlsafe_b64encode(derived))


def _joined(*parts: str) -> bytes:
    """Joins `parts` so that different lists never give the same bytes."""
    return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
