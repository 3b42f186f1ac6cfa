"""Who is a member and who is an admin: from the caller's token, or from the catalog.

The catalog's last answers are remembered for a short while, and for longer while it does not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog
from cachetools import LRUCache

from clients.backstage.catalog import Catalog, CatalogUser, GroupMissingError
from domain.errors import NotAllowedError, OrchestratorError, UpstreamError, UpstreamUnavailableError
from domain.identity import Caller, GroupRefs, Principal, Role
from services.access import principal_from_token
from services.single_flight import SingleFlight

log = structlog.get_logger(__name__)

_MAX_ANSWERS = 10_000
_RETRY_SECONDS = 10.0
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class TokenMembership:
    """Trusts the token until it expires, as the plugin does."""

    groups: GroupRefs

    async def principal(self, caller: Caller) -> Principal:
        """The caller with roles."""
        return principal_from_token(caller, self.groups)


class CatalogMembership:
    """Asks the catalog and remembers its answers for `seconds`: leaving takes effect before the token expires.

    While the catalog fails, its answers serve until they are `stale_seconds` old, but only to allow: who is in no group
    by such an answer may have joined since.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        groups: GroupRefs,
        seconds: float,
        stale_seconds: float,
        now: Callable[[], float],
    ) -> None:
        self._catalog = catalog
        self._groups = groups
        self._users = Answers(catalog.user, seconds=seconds, stale_seconds=stale_seconds, now=now)
        self._trees = Answers(self._groups_under, seconds=seconds, stale_seconds=stale_seconds, now=now)

    async def principal(self, caller: Caller) -> Principal:
        """The caller with roles. Service and plugin callers are not in the catalog. Raises UpstreamError."""
        if caller.service_role is not None or not caller.is_user:
            return principal_from_token(caller, self._groups)
        roles, refusal = await self._decided(caller.subject)
        return Principal(caller.subject, roles, caller.via, caller.ownership, refusal=refusal)

    async def roles_of(self, user: str) -> frozenset[Role]:
        """The roles that the catalog gives to `user`, a ref in lower case.

        Raises UpstreamError, also if it gives none and its answer is an old one.
        """
        roles, refusal = await self._decided(user)
        if not roles and isinstance(refusal, UpstreamError):
            raise refusal
        return roles

    async def is_in(self, user: str, group: str) -> Answer[bool]:
        """Whether `user` is in `group`, or is `group`; if nested groups count, also in a group below it.

        Nobody is in a group that the catalog does not have. Raises UpstreamError.
        """
        if user == group:
            return Answer(value=True)
        entry = await self._users.get(user)
        if not entry.value.groups:
            return Answer(False, entry.failure)
        tree = await self._trees.get(group)
        return Answer(bool(entry.value.groups & tree.value), entry.failure or tree.failure)

    async def user(self, user: str) -> CatalogUser:
        """The catalog's entry of `user`; an empty one if the catalog does not have them. Raises UpstreamError."""
        return (await self._users.get(user)).value

    async def _groups_under(self, group: str) -> frozenset[str]:
        """The group and, if nested groups count, those below it; none if the catalog does not have it."""
        try:
            return await self._catalog.groups_under(group)
        except GroupMissingError:
            log.warning("a group that the settings or an owner name does not exist in the catalog", group=group)
            return frozenset()

    async def _decided(self, user: str) -> tuple[frozenset[Role], OrchestratorError | None]:
        """The roles of `user`, and the error for whatever these do not allow, if it is not the usual one."""
        entry = await self._users.get(user)
        if not entry.value.exists and entry.failure is None:
            return frozenset(), NotAllowedError(f"{user} is signed in to Backstage, but its catalog has no such user")
        roles, failures, missing = set(), [entry.failure], []
        for role, groups in self._groups.by_role.items():
            for group in groups if entry.value.groups else ():
                tree = await self._trees.get(group)
                failures.append(tree.failure)
                if not tree.value:
                    missing.append(group)
                if entry.value.groups & tree.value:
                    roles.add(role)
                    break
        failure = next(filter(None, failures), None)
        if failure is not None:
            return frozenset(roles), not_sure(failure)
        # What others give goes on. Who is refused was perhaps in the group, so nothing of theirs may end by this.
        return frozenset(roles), GroupMissingError(missing[0]) if missing else None


def not_sure(failure: UpstreamError) -> UpstreamError:
    """The error for what the catalog did not allow before, while it does not answer."""
    error = UpstreamUnavailableError("Backstage's catalog does not answer, and did not allow this before; retry later")
    error.__cause__ = failure
    return error


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What the catalog said. If that was longer ago than usual, `failure` is why it could not be asked again."""

    value: T
    failure: UpstreamError | None = None


@dataclass(slots=True)
class _Known(Generic[T]):
    value: T
    read_at: float
    failure: UpstreamError | None = None
    failed_at: float = 0.0


class Answers(Generic[T]):
    """Answers of `ask`, one for each key, with one question at a time. `now` is a monotonic clock in seconds.

    An answer counts for `seconds` from when it was asked for. If the catalog fails then, it counts until it is
    `stale_seconds` old, and the catalog is asked again every ten seconds.
    """

    def __init__(
        self,
        ask: Callable[[str], Coroutine[Any, Any, T]],
        *,
        seconds: float,
        stale_seconds: float,
        now: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._stale_seconds = stale_seconds
        self._now = now
        self._known: LRUCache[str, _Known[T]] = LRUCache(_MAX_ANSWERS)
        self._questions: SingleFlight[T] = SingleFlight()

    async def get(self, key: str) -> Answer[T]:
        """The answer for `key`. Raises UpstreamError if there is none that counts."""
        known = self._known.get(key)
        if known is not None and self._now() - known.read_at < self._seconds:
            return Answer(known.value)
        if known is not None and self._counts(known) and self._now() - known.failed_at < _RETRY_SECONDS:
            return Answer(known.value, known.failure)
        try:
            return Answer(await self._questions.run(key, lambda: self._read(key)))
        except UpstreamError as error:
            if known is None or not self._counts(known):
                raise
            known.failure, known.failed_at = error, self._now()
            return Answer(known.value, error)

    async def _read(self, key: str) -> T:
        asked_at = self._now()
        value = await self._ask(key)
        self._known[key] = _Known(value, asked_at)
        return value

    def _counts(self, known: _Known[T]) -> bool:
        return self._now() - known.read_at < self._stale_seconds
