"""A stand-in for a Backstage backend: genuine tokens, their keys, `userinfo`, and the catalog.

`/api/auth/test/refresh` and `/api/tokens/*` hand out tokens as the test-only parts of a live Backstage do, so that
one suite can ask both for them.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeyParameters, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from clients.algorithms import Algorithms, Key
from domain.identity import PLUGIN_ID, Caller
from standalone.catalog import CatalogStandIn, Org

BASE_URL = "http://backstage.standalone"
_LIFE = 3600
_TYP = "vnd.backstage."
_ERROR_NAMES = {400: "InputError", 401: "AuthenticationError", 404: "NotFoundError"}
_MOCK = "mock-user-token"
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


class BackstageStandIn:
    """Backstage in memory; `org` is its catalog, `app` an ASGI application, `now` a clock (seconds since the epoch)."""

    def __init__(self, now: Callable[[], float] = time.time, org: Org | None = None) -> None:
        self._now = now
        self.org = org or Org()
        self._algorithm = "ES256"
        self._user_key = _new_key(self._algorithm)
        self._plugin_key = _new_key()
        self.requests: list[str] = []
        self.has_user_info = True
        """False: its database was emptied, and the tokens that it signed before are still valid."""
        routes = [
            Route("/api/auth/.well-known/jwks.json", self._user_jwks),
            Route("/api/auth/v1/userinfo", self._userinfo),
            Route("/api/tokens/.backstage/auth/v1/jwks.json", self._plugin_jwks),
            Route("/api/auth/test/refresh", self._refresh),
            Route("/api/tokens/service", self._service_token),
            Route("/api/tokens/on-behalf-of", self._on_behalf_of_token),
            Route("/api/tokens/limited", self._limited_token),
        ]
        routes += CatalogStandIn(self.org, self.requests).routes
        self.app = Starlette(routes=routes, exception_handlers={HTTPException: _rendered})

    def rotate_keys(self, algorithm: str = "ES256") -> None:
        """Sign user tokens with a new key for `algorithm` (`auth.identityTokenAlgorithm`); the old one is withdrawn."""
        self._algorithm, self._user_key = algorithm, _new_key(algorithm)

    def rotate_plugin_keys(self) -> None:
        """Sign the plugin's tokens with a new key; the old one is not published any more."""
        self._plugin_key = _new_key()

    def user_token(self, ref: str, **claims: Any) -> str:
        """A user token for `ref`; `claims` override the usual ones, None leaves one out."""
        subject = ref.lower()
        limited = self.limited_token(subject)
        usual = {
            "iss": f"{BASE_URL}/api/auth",
            "ent": [subject, *sorted(self.org.users.get(subject, ()))],
            "aud": "backstage",
            "uip": limited.rpartition(".")[2],
        }
        return self._signed("user", subject, usual | claims, self._user_key)

    def limited_token(self, ref: str, **claims: Any) -> str:
        """A limited user token for `ref`."""
        return self._signed("limited-user", ref.lower(), claims, self._user_key)

    def plugin_token(self, obo: str | None = None, **claims: Any) -> str:
        """A token of the plugin `tokens` for this service, on behalf of the holder of the limited token `obo`."""
        return self._signed("plugin", "tokens", {"aud": PLUGIN_ID, "obo": obo} | claims, self._plugin_key)

    def sign_in(self, token: str) -> Caller | None:
        """The mock credentials of `@backstage/backend-test-utils` (`mockCredentials.user.token`), or None.

        `mock-user-token` is user:default/mock; `mock-user-token:{"sub":"user:default/alice"}` is whom it names.
        """
        if token == _MOCK:
            return self._caller("user:default/mock")
        if not token.startswith(f"{_MOCK}:"):
            return None
        try:
            subject = json.loads(token.removeprefix(f"{_MOCK}:"))["sub"]
        except (ValueError, KeyError, TypeError):
            return None
        return self._caller(subject.lower()) if isinstance(subject, str) else None

    def _caller(self, subject: str) -> Caller | None:
        groups = self.org.users.get(subject)
        return None if groups is None else Caller(subject, frozenset({subject, *groups}))

    def _signed(self, kind: str, subject: str, claims: dict[str, Any], key: Key) -> str:
        algorithm = self._algorithm if key is self._user_key else "ES256"
        header = {"typ": _TYP + kind, "alg": algorithm, "kid": key.kid}
        issued = int(self._now())
        payload: dict[str, Any] = {"sub": subject, "iat": issued, "exp": issued + _LIFE} | claims
        claims = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(header, claims, key, registry=Algorithms(algorithms=[algorithm]))

    async def _user_jwks(self, request: Request) -> Response:
        self.requests.append(request.url.path)
        return JSONResponse({"keys": [self._user_key.as_dict(private=False) | {"alg": self._algorithm}]})

    async def _plugin_jwks(self, request: Request) -> Response:
        self.requests.append(request.url.path)
        return JSONResponse({"keys": [self._plugin_key.as_dict(private=False) | {"alg": "ES256"}]})

    async def _userinfo(self, request: Request) -> Response:
        self.requests.append(request.url.path)
        subject = self._verified(request)
        if not self.has_user_info:
            return PlainTextResponse("User info not found", 404)
        return JSONResponse({"claims": {"sub": subject, "ent": [subject, *sorted(self.org.users.get(subject, ()))]}})

    async def _refresh(self, request: Request) -> Response:
        ref = request.query_params.get("user", "user:default/alice").lower()
        if ref not in self.org.users and "raw" not in request.query_params:
            raise HTTPException(404, "User not found")
        given = {"ent": request.query_params.getlist("ent")} if "raw" in request.query_params else {}
        return JSONResponse({"backstageIdentity": {"token": self.user_token(ref, **given)}})

    async def _service_token(self, request: Request) -> Response:
        return JSONResponse({"token": self.plugin_token(aud=request.query_params.get("target", PLUGIN_ID))})

    async def _on_behalf_of_token(self, request: Request) -> Response:
        limited = self.limited_token(self._verified(request))
        return JSONResponse({"token": self.plugin_token(limited, aud=request.query_params.get("target", PLUGIN_ID))})

    async def _limited_token(self, request: Request) -> Response:
        return JSONResponse({"token": self.limited_token(self._verified(request))})

    def _verified(self, request: Request) -> str:
        """Whose user or limited token the request bears."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            decoded = jwt.decode(token, self._user_key, registry=Algorithms(algorithms=[self._algorithm]))
            jwt.JWTClaimsRegistry(now=int(self._now()), exp={"essential": True}).validate(decoded.claims)
        except (JoseError, ValueError) as error:
            raise HTTPException(401, "Failed user token verification") from error
        return str(decoded.claims["sub"])


async def _rendered(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    body = {
        "error": {"name": _ERROR_NAMES.get(error.status_code, "Error"), "message": error.detail},
        "request": {"method": request.method, "url": request.url.path},
        "response": {"statusCode": error.status_code},
    }
    return JSONResponse(body, error.status_code)


def _new_key(algorithm: str = "ES256") -> Key:
    parameters: KeyParameters = {"kid": str(uuid.uuid4())}
    if algorithm in _CURVES:
        return ECKey.generate_key(_CURVES[algorithm], parameters)
    if algorithm == "EdDSA":
        return OKPKey.generate_key("Ed25519", parameters)
    return RSAKey.generate_key(2048, parameters)
