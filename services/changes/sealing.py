"""Requests with an Idempotency-Key, and answers sealed so that only the sender of the same key can open them.

Names derive from the root in the database, whatever is configured, so that all replicas give a request the same name.
The encryption key is derived (HKDF, RFC 5869) from that root, a secret that the database does not contain, and the
caller's Idempotency-Key, so the database reveals nothing on its own. Why: `docs/adr/0009-idempotency.md`.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from domain.errors import ConflictError
from state.kept_answers import IdempotentRequest, KeptAnswer
from state.root import Root


@dataclass(frozen=True, slots=True)
class SealedRequest(IdempotentRequest):
    """A request with an Idempotency-Key, which seals and opens its own answer."""

    cipher: MultiFernet = field(repr=False)

    def seal(self, answer: Mapping[str, Any], resource_id: str) -> KeptAnswer:
        """The answer as it is kept, without its secret. `resource_id` is what the request created."""
        return KeptAnswer(self.fingerprint, resource_id, self.cipher.encrypt(orjson.dumps(answer)))

    def unseal(self, kept: KeptAnswer) -> dict[str, Any]:
        """The answer. Raises ConflictError if it was sealed under a secret that is not configured any more."""
        try:
            answer: dict[str, Any] = orjson.loads(self.cipher.decrypt(kept.sealed))
        except InvalidToken as error:
            message = f"This Idempotency-Key created {kept.resource_id}; its secret cannot be shown again"
            raise ConflictError(message) from error
        return answer


class Sealing:
    """Names requests and derives their encryption keys. The first of `secrets` seals, and each of them opens."""

    def __init__(self, root: Root, *, secrets: Sequence[str]) -> None:
        self._root = root
        self._secrets = tuple(secret.encode() for secret in secrets)

    async def request(self, subject: str, key: str, content: Any) -> SealedRequest:
        """The request of `subject` with the Idempotency-Key `key`. `content` is all that it asks for, as JSON.

        Raises DatabaseUnavailableError.
        """
        root = await self._root.secret()
        name = hmac.new(root, _joined("name", subject, key), sha256).hexdigest()
        fingerprint = sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
        purpose = _joined("seal", subject, key)
        cipher = MultiFernet([_cipher(secret, root, purpose) for secret in self._secrets])
        return SealedRequest(name, fingerprint, cipher)


def _cipher(secret: bytes, salt: bytes, purpose: bytes) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(HKDF(hashes.SHA256(), 32, salt, purpose).derive(secret)))


def _joined(*parts: str) -> bytes:
    """Joins `parts` so that different lists never give the same bytes."""
    return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
