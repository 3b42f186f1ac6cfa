"""Makes short keys: what every grant ends in.

Many are made at once for one owner, so they wait for no turn. That none escapes an off-boarding: the second transaction
fails if the owner is leaving, or was since the first one, and the key is deleted; a deletion waits for those that are
being made. Why: `docs/adr/0036-short-keys.md`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial

from cachetools import TTLCache
from sqlalchemy.ext.asyncio import AsyncConnection

from domain import refs
from domain.actions import Action
from domain.errors import CallerError, ConflictError, RateLimitedError
from domain.identity import Principal, Role, Scope
from domain.keys import KeyAnnotations, KeyVersion, MintRequest, NewKey, ShortLivedKey
from domain.rates import RateLimit
from domain.resource_versions import version_of
from domain.workloads import KeyTerms
from services.changes.change import Change
from services.changes.changes import Changes
from services.keys.issuer import KeyIssuer
from services.keys.rules import KeyRules
from services.owners.owners import Owners
from services.users.users import Users
from state.changes import REMEMBERED_SECONDS
from state.offboardings import Offboardings
from state.rates import RatePolicy
from state.short_keys import GivenKey, ShortKey, ShortKeys

AlsoWrite = Callable[[AsyncConnection, str, ShortLivedKey], Awaitable[None]]
"""Gets the operation of the change, and the key."""

_SAME_ANSWER_SECONDS = 60.0
_MOST_OF_A_TOKEN = 2
_MOST_SETTLED = 10_000


class MintKey:
    """Makes short keys. `now` is in seconds since the epoch."""

    def __init__(
        self,
        *,
        changes: Changes,
        users: Users,
        owners: Owners,
        rules: KeyRules,
        issuer: KeyIssuer,
        short_keys: ShortKeys,
        offboardings: Offboardings,
        now: Callable[[], float],
    ) -> None:
        self._changes = changes
        self._users = users
        self._owners = owners
        self._rules = rules
        self._issuer = issuer
        self._short_keys = short_keys
        self._offboardings = offboardings
        self._now = now
        self._settled: TTLCache[str, bool] = TTLCache(_MOST_SETTLED, ttl=REMEMBERED_SECONDS, timer=now)

    async def _require_owner(self, request: MintRequest) -> None:
        """Creates the LiteLLM user of a group or component that has none. What was found holds for ten seconds.

        Raises CallerError if the owner may have no keys, or was registered again; UpstreamError.
        """
        if request.owner in self._settled:
            return
        if refs.is_software(request.owner):
            await self._owners.require_unchanged(request.owner)
        await self._users.ensure_for_key(_principal(request), request.owner)
        await self._users.require(Scope.ANY, request.owner)
        self._settled[request.owner] = True

    async def __call__(self, request: MintRequest, also: AlsoWrite | None = None) -> ShortLivedKey:
        """The key. Within a minute the same token gets the same key again; later it ends the oldest of two.

        What `also` writes is written together with the outcome of a new key; if it raises a CallerError, there is none.

        Raises CallerError if the owner may have no keys, is leaving or was registered again, or if its tier allows none
        of the models; RateLimitedError, BusyError (the same request is running), UpstreamError.
        """
        await self._require_owner(request)
        principal, owner = _principal(request), request.owner
        terms = await self._rules.narrowed(principal, owner, request.terms)
        given = await self._short_keys.of_token(request.source, request.token)
        attempt = _attempt(given)
        async with self._changes.begin(
            principal,
            Action.KEY_MINT,
            owner,
            requested=request.evidence,
            # What was asked is part of it: a setting that has changed since is no reason to refuse a repetition.
            idempotency_key=f"{request.token} {attempt} {version_of([owner, request.evidence])}",
            rate=RatePolicy("exchanges", request.per_minute),
            also=partial(self._require_room, request),
            in_turn=False,
        ) as change:
            if change.kept_answer is not None:
                if await self._offboardings.among([owner]):
                    raise _leaving(owner)
                return ShortLivedKey(**change.kept_answer)
            await self._issuer.delete_abandoned(owner, change.interrupted)
            ended = await self._end_oldest(request, given)
            ends_at = self._now() + terms.life
            created = await self._issuer.create(owner, _new_key(request, terms, change.operation))
            key = ShortLivedKey(created.key_id, created.secret, ends_at)
            row = ShortKey(key.key_id, request.source, request.token, attempt)
            try:
                await self._record(change, request.owner, row, key, ended, also)
            except CallerError:
                await self._issuer.delete(key.key_id)
                raise
            return key

    async def _record(  # noqa: PLR0917  # all that is written
        self,
        change: Change,
        owner: str,
        row: ShortKey,
        key: ShortLivedKey,
        ended: list[str],
        also: AlsoWrite | None,
    ) -> None:
        """Transaction 2. Raises ConflictError, and records nothing, if the owner is leaving."""
        change.key_version = version = KeyVersion.derived(key.key_id, None)
        async with change.transaction() as connection:
            if await self._changes.table.is_leaving(connection, owner, since=change.operation):
                raise _leaving(owner)
            if also is not None:
                await also(connection, change.operation, key)
            for key_id in ended:
                await self._short_keys.remove(connection, key_id)
            life = key.ends_at - self._now()
            await self._short_keys.add(connection, row, owner=owner, life=life, key_version=version)
            await self._issuer.schedule_owner_check(connection, key.key_id, owner, version)
            after = {"endedKeys": ended} if ended else None
            await change.done(key, key_id=key.key_id, after=after, connection=connection)

    async def _require_room(self, request: MintRequest, connection: AsyncConnection) -> None:
        """Part of transaction 1, after the rate, whose row makes the others of this source wait until it commits."""
        room = await self._changes.table.room(connection, request.source, request.owner)
        if room.is_leaving:
            raise _leaving(request.owner)
        # This one is being made, too.
        if room.living + room.being_made > request.most_living:
            wait = max(1, round(room.first_end or 0))
            raise RateLimitedError(RateLimit("living", request.most_living, request.terms.life, 0, wait, wait))

    async def _end_oldest(self, request: MintRequest, given: list[GivenKey]) -> list[str]:
        """Deletes what is too much with one more key for this token, or source. Returns the ids of what is gone."""
        most = _MOST_OF_A_TOKEN
        if request.most_of_source is not None:
            most, given = request.most_of_source, await self._short_keys.of_source(request.source)
        oldest = [row.key_id for row in given[most - 1 :]]
        for key_id in oldest:
            await self._issuer.delete(key_id)
        return oldest


def _principal(request: MintRequest) -> Principal:
    return Principal(request.source, frozenset({Role.WORKLOAD}), manages=frozenset({request.owner}))


def _attempt(given: list[GivenKey]) -> int:
    """The number of the key for a token: that of the newest while it is the same request, else the next one."""
    if not given:
        return 1
    newest = given[0]
    is_same = newest.age < _SAME_ANSWER_SECONDS and newest.left > 1
    return newest.attempt if is_same else newest.attempt + 1


def _new_key(request: MintRequest, terms: KeyTerms, operation: str) -> NewKey:
    annotations = KeyAnnotations(request.alias, {}, operation, source=request.source)
    return NewKey(annotations, **asdict(terms))


def _leaving(owner: str) -> ConflictError:
    return ConflictError(f"{owner} is being off-boarded")
