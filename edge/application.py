"""The connexion application: its routing, security and operations, with ours where stock connexion answers wrongly.

What each replacement mends is told in `docs/adr/0002-what-we-replace-in-connexion.md`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from connexion.lifecycle import ConnexionRequest
from connexion.middleware import ConnexionMiddleware
from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from connexion.middleware.lifespan import LifespanMiddleware
from connexion.middleware.routing import RoutingMiddleware
from connexion.middleware.security import SecurityMiddleware
from connexion.operations import AbstractOperation
from connexion.resolver import Resolver
from connexion.security import BearerSecurityHandler
from connexion.spec import Specification
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import Mount, Route, Router, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import AuthenticationError
from edge.binding import BoundOperation, Handler, bind_principal, handler_name
from edge.cors import middleware_options
from edge.errors import RoutingError, not_found, render
from edge.paths import RawPath
from edge.request_log import RequestLog
from services.access import Principal
from settings.model import Cors

Authenticate = Callable[[str], Awaitable[Principal]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def build(
    contract: Mapping[str, Any],
    *,
    handlers: Mapping[str, Handler],
    available: Mapping[str, Any],
    authenticate: Authenticate,
    cors: Cors,
    lifespan: Lifespan,
    new_id: Callable[[], str],
    now: Callable[[], float],
) -> ASGIApp:
    """An ASGI application that answers `contract` with `handlers`, by the names that `handler_name` gives them.

    `available` is what a handler may name as a parameter beside `principal`, `body` and its path parameters.
    """
    middlewares: list[Any] = [
        partial(RequestLog, new_id=new_id, now=now),
        # Outside of errors, or they would lack its headers.
        *([partial(CORSMiddleware, **middleware_options(cors))] if cors.origins else []),
        Errors,
        RawPath,
        Routing,
        SecurityMiddleware,
        LifespanMiddleware,
    ]
    application = ConnexionMiddleware(
        Operations(),
        import_name=__name__,
        lifespan=lifespan,
        middlewares=middlewares,
        resolver=Resolver(lambda operation_id: handlers[handler_name(operation_id)]),
        security_map={"bearer": partial(_Bearer, authenticate)},
    )
    for base_path, document in _by_base_path(contract).items():
        application.add_api(document, base_path=base_path, available=available)
    return cast("ASGIApp", application)


def _by_base_path(contract: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`contract` in parts of one base path each: connexion passes over the `servers` of a path item."""
    parts: dict[str, dict[str, Any]] = {}
    for path, item in contract["paths"].items():
        server = item.get("servers", contract["servers"])[0]["url"].rstrip("/")
        part = parts.setdefault(server, {**contract, "paths": {}})
        part["paths"][path] = {key: value for key, value in item.items() if key != "servers"}
    return parts


class Errors:
    """ASGI middleware: whatever is raised behind it is answered in the one error body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def noting_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noting_start)
        except ClientDisconnect:
            return
        except Exception as error:  # the last resort: nothing may leave unrendered
            response = render(scope, error)
            if started:
                raise
            await response(scope, receive, send)


class Routing(RoutingMiddleware):  # type: ignore[misc]  # connexion has no types
    """Connexion's routing, without redirects, and with methods as the contract has them.

    Stock, a trailing slash is a 307, HEAD is taken for GET, and `Allow` lists the first operation of a path only.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self.router.redirect_slashes = False
        self._methods: list[tuple[Any, list[str]]] = []

    def add_api(self, specification: Specification, *args: Any, **kwargs: Any) -> None:
        super().add_api(specification, *args, **kwargs)
        mount = cast("Mount", self.router.routes[-1])
        router = cast("Router", mount.app)
        router.redirect_slashes = False
        methods: dict[str, set[str]] = {}
        for route in cast("list[Route]", router.routes):
            route.methods = set(route.methods or ()) - {"HEAD"}
            methods.setdefault(mount.path + route.path, set()).update(route.methods)
        self._methods += [(compile_path(path)[0], sorted(names)) for path, names in methods.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except HTTPException as error:
            if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
                raise self._method_not_allowed(scope["path"]) from error
            raise

    def _method_not_allowed(self, path: str) -> RoutingError:
        allowed = next(methods for pattern, methods in self._methods if pattern.match(path))
        message = f"This path takes {', '.join(allowed)} only"
        headers = {"Allow": ", ".join(allowed)}
        return RoutingError(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowedError", message, headers)


class _Bearer(BearerSecurityHandler):  # type: ignore[misc]  # connexion has no types
    """Connexion's bearer scheme with a callable of ours, where stock wants the name of a global function."""

    def __init__(self, authenticate: Authenticate) -> None:
        self._authenticate = authenticate

    def get_fn(
        self, security_scheme: Any, required_scopes: Any
    ) -> Callable[[ConnexionRequest], Awaitable[dict[str, Any]]]:
        """A function that verifies a request's token and leaves the principal with it."""

        async def verify(request: ConnexionRequest) -> dict[str, Any]:
            principal = await self._authenticate(_token(request.headers.getlist("authorization")))
            bind_principal(request.scope, principal)
            return {"sub": principal.subject}

        return verify


def _token(authorizations: list[str]) -> str:
    """The one bearer token (RFC 6750, section 2.1)."""
    if not authorizations:
        raise AuthenticationError("Sign in: send Authorization: Bearer <Backstage token>")
    scheme, _, token = authorizations[0].partition(" ")
    if len(authorizations) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise AuthenticationError("Send exactly one Authorization: Bearer <Backstage token>")
    return token.strip()


class _BoundApi(RoutedAPI[BoundOperation]):  # type: ignore[misc]  # connexion has no types
    def __init__(self, *args: Any, available: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._available = available
        self.add_paths()

    def make_operation(self, operation: AbstractOperation) -> BoundOperation:
        return BoundOperation(operation, self._available)


class Operations(RoutedMiddleware[_BoundApi]):  # type: ignore[misc]  # connexion has no types
    """The end of the stack: the routed operation, or nothing."""

    api_cls = _BoundApi

    def __init__(self) -> None:
        super().__init__(_nothing_here)


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    raise not_found()
