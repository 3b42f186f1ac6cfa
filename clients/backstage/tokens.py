"""Verifies bearer tokens: Backstage's user and plugin tokens, and configured service tokens.

Backstage's auth service issues these (https://backstage.io/docs/auth/identity-resolver and
`@backstage/plugin-auth-backend` 0.25; `tests/conformance` checks them):

- a user token: header `typ: vnd.backstage.user`; `sub`, `ent` (ownership refs; may be absent), `aud: backstage`;
- a plugin token: `typ: vnd.backstage.plugin`; `sub` is the calling plugin, `aud` is this one. On behalf of a user it
  contains `obo`, that user's limited token (`typ: vnd.backstage.limited-user`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import re
from collections.abc import Callable, Collection, Sequence
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from cachetools import LRUCache
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError

from clients.algorithms import ALGORITHMS, Algorithms, Key
from clients.backstage.plugin_keys import PluginKeys
from clients.backstage.replies import error_name
from clients.signing_keys import Published, SigningKeys, UnknownKeyError
from clients.upstream import Upstream
from domain import refs
from domain.errors import AuthenticationError, UpstreamError, UpstreamFaultError
from domain.identity import PLUGIN_ID, Caller
from settings.model import ServiceToken

_USER_KEYS = "/api/auth/.well-known/jwks.json"
_LEEWAY_SECONDS = 60
_PLUGIN = re.compile(r"[a-z0-9_-]{1,64}")
_MAX_TOKEN_LENGTH = 16 * 1024
_CACHED_TOKENS = 10_000
_USER_INFO_IS_GONE = b"User info not found"
ObserveCheck = Callable[[str], None]


class _Typ(StrEnum):
    USER = "vnd.backstage.user"
    PLUGIN = "vnd.backstage.plugin"
    LIMITED = "vnd.backstage.limited-user"


class TokenVerifier:
    """Verifies bearer tokens. `now` is in seconds since the epoch; `plugins`: see `PluginKeys`.

    `observe` gets the result of each check: service, cached, accepted, refused, or unknown if Backstage fails.
    """

    def __init__(
        self,
        backstage: Upstream,
        *,
        issuer: str | None,
        service_tokens: Sequence[ServiceToken],
        plugins: Collection[str] | None,
        now: Callable[[], float],
        observe: ObserveCheck = lambda _: None,
    ) -> None:
        self._observe = observe
        self._backstage = backstage
        self._issuer = issuer
        self._service_tokens = [
            (_digest(row.token), Caller(row.subject, service_role=row.role)) for row in service_tokens
        ]
        self._now = now
        self._user_keys = SigningKeys(Published(backstage, _USER_KEYS), now)
        self._plugin_keys = PluginKeys(backstage, now, allowed=plugins)
        self._verified: LRUCache[bytes, tuple[Caller, float]] = LRUCache(_CACHED_TOKENS)

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._backstage.aclose()

    async def algorithms(self) -> frozenset[str]:
        """The algorithms of Backstage's keys for user tokens. Raises UpstreamError if they cannot be read."""
        return await self._user_keys.algorithms()

    async def backstage_answers(self) -> bool:
        """Whether Backstage publishes signing keys now. Raises UpstreamError. Only watches: no token depends on it."""
        return await self._user_keys.are_published()

    async def clock_difference(self) -> float:
        """The seconds by which Backstage's clock is ahead of `now`. Raises UpstreamError.

        Its clock is the `Date` of a response that it gives without a token (RFC 9110, section 6.6.1).
        """
        reply = await self._backstage.watch(_USER_KEYS)
        try:
            return parsedate_to_datetime(reply.headers["Date"]).timestamp() - self._now()
        except (KeyError, ValueError) as error:
            raise UpstreamFaultError("Backstage's response has no date") from error

    @property
    def cached_tokens(self) -> int:
        """The number of verified tokens in the cache."""
        return len(self._verified)

    async def verify(self, token: str) -> Caller:
        """The caller who holds `token`. Raises AuthenticationError; UpstreamError if Backstage fails."""
        result = "refused"
        try:
            result, caller = await self._verify(token)
        except UpstreamError:
            result = "unknown"
            raise
        finally:
            self._observe(result)
        return caller

    async def _verify(self, token: str) -> tuple[str, Caller]:
        digest = _digest(token)
        if caller := self._service(digest):
            return "service", caller
        if (known := self._verified.get(digest)) and self._now() < known[1]:
            return "cached", known[0]
        if len(token) > _MAX_TOKEN_LENGTH:
            raise AuthenticationError("The token is too long for a Backstage token")
        caller, expires = await self._by_type(token)
        self._verified[digest] = (caller, expires + _LEEWAY_SECONDS)
        return "accepted", caller

    def _service(self, digest: bytes) -> Caller | None:
        # Compares every row in constant time: the duration must not reveal anything.
        matches = [caller for row, caller in self._service_tokens if hmac.compare_digest(row, digest)]
        return matches[0] if matches else None

    async def _by_type(self, token: str) -> tuple[Caller, float]:
        header = _unverified(token, 0)
        match header.get("typ"):
            case _Typ.USER:
                return await self._user(token)
            case _Typ.PLUGIN:
                return await self._plugin(token)
            case _Typ.LIMITED:
                raise AuthenticationError("A limited user token alone is not accepted; send the user token")
            case _:
                raise AuthenticationError("The token is not a Backstage token")

    async def _user(self, token: str) -> tuple[Caller, float]:
        claims = await self._claims(token, _Typ.USER, self._user_keys, audience="backstage", issuer=self._issuer)
        subject, ownership = _user_ref(claims), claims.get("ent")
        refs = await self._ownership(token, subject) if ownership is None else _refs(ownership)
        if refs is None:
            raise AuthenticationError("The token's ent is not a list of entity refs")
        return Caller(subject, refs), claims["exp"]

    async def _plugin(self, token: str) -> tuple[Caller, float]:
        unverified = _unverified(token, 1)
        plugin, obo = unverified.get("sub"), unverified.get("obo")
        if not isinstance(plugin, str) or not _PLUGIN.fullmatch(plugin):
            raise AuthenticationError("The token's sub is not a plugin id")
        if not isinstance(obo, str | None):
            raise AuthenticationError("The token's obo is not a token")
        # First, because it tells made-up plugins from those that hold a user's token.
        limited = None
        if obo is not None:
            limited = await self._claims(obo, _Typ.LIMITED, self._user_keys, audience=None, issuer=None)
        keys = self._plugin_keys.of(plugin, has_user=limited is not None)
        claims = await self._claims(token, _Typ.PLUGIN, keys, audience=PLUGIN_ID, issuer=None)
        self._plugin_keys.confirm(plugin, keys)
        if obo is None or limited is None:
            return Caller(f"plugin:{plugin}"), claims["exp"]
        subject = _user_ref(limited)
        caller = Caller(subject, await self._ownership(obo, subject), via=f"plugin:{plugin}")
        return caller, min(claims["exp"], limited["exp"])

    async def _claims(
        self, token: str, typ: str, keys: SigningKeys, *, audience: str | None, issuer: str | None
    ) -> dict[str, Any]:
        header = _unverified(token, 0)
        kid, algorithm = header.get("kid"), header.get("alg")
        if header.get("typ") != typ or algorithm not in ALGORITHMS or not isinstance(kid, str):
            raise AuthenticationError("The token's header is not that of a Backstage token")
        try:
            of_kid = await keys.get(kid, signed_by=_issued_at(token) + _LEEWAY_SECONDS)
            if algorithm not in of_kid:
                raise AuthenticationError("The token's alg is not that of its signing key")
            return self._checked(token, of_kid[algorithm], algorithm, audience, issuer)
        except UnknownKeyError as error:
            raise AuthenticationError("The token is signed with a key that Backstage does not publish") from error
        except ExpiredTokenError as error:
            raise AuthenticationError("The token has expired") from error
        except (JoseError, ValueError, TypeError) as error:
            raise AuthenticationError("The token is invalid") from error

    def _checked(
        self, token: str, key: Key, algorithm: str, audience: str | None, issuer: str | None
    ) -> dict[str, Any]:
        # The key is given: what a header says about keys (`jwk`, `jku`, `x5c`) is not looked at.
        decoded = jwt.decode(token, key, registry=Algorithms(algorithms=[algorithm]))
        options: dict[str, Any] = {"exp": {"essential": True}, "sub": {"essential": True}}
        options |= {"aud": {"essential": True, "value": audience}} if audience else {}
        options |= {"iss": {"essential": True, "value": issuer}} if issuer else {}
        jwt.JWTClaimsRegistry(now=int(self._now()), leeway=_LEEWAY_SECONDS, **options).validate(decoded.claims)
        return decoded.claims

    async def _ownership(self, token: str, subject: str) -> frozenset[str]:
        """Asks Backstage (`GET /api/auth/v1/userinfo`): tokens may omit ownership, and limited tokens always do."""
        reply = await self._backstage.read("/api/auth/v1/userinfo", token=token)
        body = reply.parsed()
        if reply.status == 401 and error_name(reply) == "AuthenticationError":
            raise AuthenticationError("Backstage does not accept the token")
        if reply.status == 404 and reply.content.strip() == _USER_INFO_IS_GONE:
            raise AuthenticationError("Backstage has no record of this sign-in any more; sign in again")
        claims = body.get("claims") if reply.status == 200 and isinstance(body, dict) else None
        refs = _refs(claims.get("ent")) if isinstance(claims, dict) and _same_ref(claims.get("sub"), subject) else None
        if refs is None:
            raise reply.unexpected("Backstage", "the caller's ownership")
        return refs


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _unverified(token: str, part: int) -> dict[str, Any]:
    """Header (0) or claims (1) of a compact JWS, unverified: only to choose the signing key."""
    parts = token.split(".")
    try:
        decoded = json.loads(base64.urlsafe_b64decode(parts[part] + "=="))  # padding beyond what is missing is ignored
    except (ValueError, RecursionError) as error:
        raise AuthenticationError("The token is not a Backstage token") from error
    if len(parts) != 3 or not isinstance(decoded, dict):
        raise AuthenticationError("The token is not a Backstage token")
    return decoded


def _issued_at(token: str) -> float:
    """When `token` says that it was issued, unverified. Backstage's tokens say it: one that does not is of any age."""
    issued_at = _unverified(token, 1).get("iat")
    return issued_at if isinstance(issued_at, int | float) else -math.inf


def _user_ref(claims: dict[str, Any]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not refs.is_user(subject):
        raise AuthenticationError("The token's sub is not a user entity ref")
    return refs.canonical(subject)


def _refs(value: Any) -> frozenset[str] | None:
    if not isinstance(value, list) or not all(isinstance(ref, str) for ref in value):
        return None
    return frozenset(map(refs.canonical, value))


def _same_ref(value: Any, subject: str) -> bool:
    return isinstance(value, str) and refs.canonical(value) == subject
