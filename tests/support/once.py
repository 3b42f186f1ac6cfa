"""What building an application, its statements and its database asks again and again, with the same answers.

Once for each process of the tests is enough.
"""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
import threading
from collections.abc import Callable
from copy import copy
from dataclasses import Field, fields
from functools import cache, partial
from inspect import Signature, signature
from pathlib import Path
from typing import Any

import inflection
import pytest
from connexion.middleware import main
from connexion.operations import OpenAPIOperation
from connexion.resolver import Resolver
from connexion.spec import Specification
from sqlalchemy.ext.asyncio import create_async_engine
from starlette import routing

from domain import redaction
from edge import application, binding
from edge.parameters import Parameters
from settings import secrets
from state.database import Database

_PURE = (
    (binding, "get_type_hints"),
    (application, "compile_path"),
    (routing, "compile_path"),
    (inflection, "underscore"),
    (redaction, "_spellings"),
)


def share_what_is_built(patch: pytest.MonkeyPatch) -> None:
    """For all applications of this process, as long as `patch` lasts."""
    for module, name in _PURE:
        patch.setattr(module, name, cache(getattr(module, name)))
    patch.setattr(binding, "signature", cache(lambda handler: _BoundOnce(signature(handler))))
    patch.setattr(binding, "Parameters", _once(Parameters))
    patch.setattr(secrets, "fields", lambda settings: _fields(settings.__class__))
    patch.setattr(main, "inspect_function_arguments", _by_what_is_given(main.inspect_function_arguments))
    read_the_contract_once(patch)
    make = partial(create_async_engine, execution_options={"compiled_cache": _Compiled()})
    patch.setattr("state.sqlite_file.create_async_engine", make)


def migrated_database(folder: Path) -> None:
    """Puts a migrated database where `standalone_settings` expects it, unless one is there."""
    path = folder / "state.sqlite3"
    if not path.exists():
        shutil.copyfile(_template(), path)


def _once(build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`build`, called once for each argument. That is compared by its identity, and therefore kept."""
    built: dict[int, tuple[Any, Any]] = {}

    def build_once(argument: Any) -> Any:
        if id(argument) not in built:
            built[id(argument)] = (argument, build(argument))
        return built[id(argument)][1]

    return build_once


def read_the_contract_once(patch: pytest.MonkeyPatch) -> None:
    """What connexion makes of it is the same for all applications of this process, as long as `patch` lasts."""
    patch.setattr(application, "_by_base_path", _once(application._by_base_path))
    original = Specification.from_dict
    parse = cache(lambda base_uri: _once(partial(original, base_uri=base_uri)))
    read = OpenAPIOperation.from_spec.__func__
    operations: dict[tuple[int, str, str], tuple[Specification, OpenAPIOperation]] = {}

    def parse_once(_: type[Specification], spec: dict[str, Any], *, base_uri: str = "") -> Specification:
        return parse(base_uri)(spec)

    def read_once(
        cls: type[OpenAPIOperation],
        /,
        spec: Specification,
        *,
        path: str,
        method: str,
        resolver: Resolver,
        **options: Any,
    ) -> OpenAPIOperation:
        """The same operation for each application that has the same handler for it."""
        place = (id(spec), path, method)
        if place not in operations:
            operations[place] = spec, read(cls, spec, path=path, method=method, resolver=resolver, **options)
        _, operation = operations[place]
        resolution = resolver.resolve(operation)
        if resolution.function is not operation.function:
            operation = copy(operation)
            operation._resolution = resolution
        return operation

    patch.setattr(Specification, "from_dict", classmethod(parse_once))
    patch.setattr(OpenAPIOperation, "from_spec", classmethod(read_once))


@cache
def _fields(settings: Any) -> tuple[Field[Any], ...]:
    return fields(settings)


class _BoundOnce:
    """A signature. What `bind` does with the same names again is not done again; what it makes of them nobody reads."""

    def __init__(self, signature: Signature) -> None:
        self._bind = cache(lambda names: signature.bind(**dict.fromkeys(names)))

    def bind(self, **arguments: Any) -> None:
        """Raises TypeError."""
        self._bind(frozenset(arguments))


def _by_what_is_given(inspect: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`inspect`, called once for each middleware and the names of what it is given in advance."""
    inspected: dict[Any, Any] = {}

    def inspect_once(middleware: Any) -> Any:
        is_partial = isinstance(middleware, partial)
        key = (middleware.func, frozenset(middleware.keywords)) if is_partial else middleware
        if key not in inspected:
            inspected[key] = inspect(middleware)
        return inspected[key]

    return inspect_once


class _Compiled(dict[tuple[Any, ...], Any]):
    """What SQLAlchemy has compiled, for every engine: without the dialect, the same SQLite for each of them."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get(key[1:], default)

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        super().__setitem__(key[1:], compiled)


@cache
def _template() -> Path:
    """A migrated database, created once per process."""
    path = Path(tempfile.mkdtemp(prefix="orchestrator-template-")) / "state.sqlite3"

    async def migrate() -> None:
        database = Database(f"sqlite+aiosqlite:///{path}")
        await database.migrate()
        await database.aclose()

    thread = threading.Thread(target=lambda: asyncio.run(migrate()))
    thread.start()
    thread.join()
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    return path
