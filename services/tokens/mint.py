"""Makes short keys: what every grant ends in.

Many are made at once for one owner, so they wait for no turn. That none escapes an off-boarding: the second transaction
fails if the owner is leaving, or was since the first one, and the key is deleted; a deletion waits for those that are
being made. Why: `docs/adr/0036-short-keys.md`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from cachetools import TLRUCache
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
from services.keys.issuer import KeyIssuer, owner_check
from services.keys.rules import KeyRules
from services.owners.owners import Owners
from services.users.users import Users
from state.due import DueQueue
from state.offboardings import Offboardings
from state.rates import RatePolicy
from state.short_keys import REMEMBERED_SECONDS, ShortKey, ShortKeys, short_key_end

_MOST_OF_A_TOKEN = 2
_MOST_SETTLED = 10_000
_LONGEST_ALIAS = 64


@dataclass(frozen=True, slots=True)
class Within:
    """What a grant does in the transactions of its key: `check` in the first one, `record` in the second one.

    `record` gets the operation of the change, and the key. Both may raise a CallerError.
    """

    check: Callable[[AsyncConnection], Awaitable[None]]
    record: Callable[[AsyncConnection, str, ShortLivedKey], Awaitable[None]]


class MintKey:
    """Makes short keys. `now` is in seconds since the epoch, `clock` a monotonic clock in seconds."""

    def __init__(
        self,
        *,
        changes: Changes,
        users: Users,
        owners: Owners,
        rules: KeyRules,
        issuer: KeyIssuer,
        short_keys: ShortKeys,
        due: DueQueue,
        offboardings: Offboardings,
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._changes = changes
        self._users = users
        self._owners = owners
        self._rules = rules
        self._issuer = issuer
        self._short_keys = short_keys
        self._due = due
        self._offboardings = offboardings
        self._now = now
        self._clock = clock
        # By the time at which the look began: an off-boarding may have come and gone before its answer arrived.
        self._settled: TLRUCache[str, float] = TLRUCache(
            _MOST_SETTLED, ttu=lambda _owner, looked_at, _now: looked_at + REMEMBERED_SECONDS, timer=clock
        )

    async def _require_owner(self, request: MintRequest) -> None:
        """Creates the LiteLLM user of a group or component that has none. What was found holds for ten seconds.

        Raises CallerError if the owner may have no keys, is leaving or was registered again; UpstreamError.
        """
        if request.owner in self._settled:
            return
        looked_at = self._clock()
        if await self._short_keys.is_leaving(request.owner):
            # Its user would be back in LiteLLM, although it gets no key.
            raise leaving(request.owner)
        if refs.is_software(request.owner):
            await self._owners.require_unchanged(request.owner)
        await self._users.ensure_for_key(_principal(request), request.owner)
        await self._users.require(Scope.ANY, request.owner)
        self._settled[request.owner] = looked_at

    async def __call__(self, request: MintRequest, within: Within | None = None) -> ShortLivedKey:
        """The key. For a while the same token gets the same key again; later it ends the oldest of two.

        What is `within` is part of its transactions. If it raises a CallerError, there is no key.

        Raises CallerError if the owner may have no keys, is leaving or was registered again, if its tier allows none of
        the models, or if the key would have ended by now; RateLimitedError, BusyError (the same request is running),
        UpstreamError.
        """
        await self._require_owner(request)
        principal, owner = _principal(request), request.owner
        terms = await self._rules.narrowed(principal, owner, request.terms)
        to_end: list[str] = []
        async with self._changes.begin(
            principal,
            Action.KEY_MINT,
            owner,
            requested=request.evidence,
            # What was asked is part of it: a setting that has changed since is no reason to refuse a repetition.
            idempotency_key=f"{request.token} {version_of([owner, request.evidence])}",
            rate=RatePolicy("exchanges", request.per_minute),
            also=partial(self._require_room, request, to_end, within),
            in_turn=False,
            # Nobody gets a key again that ends at once.
            kept_for=min(request.repeated_for, terms.life - 1),
        ) as change:
            if change.kept_answer is not None:
                if await self._offboardings.among([owner]):
                    raise leaving(owner)
                return ShortLivedKey(**change.kept_answer)
            await self._issuer.delete_abandoned(owner, change.interrupted)
            now = self._now()
            life = int(min(terms.life, request.ends_by - now))  # LiteLLM counts whole seconds
            if life < 1:
                raise ConflictError("Making the key took until its end")
            created = await self._issuer.create(owner, _new_key(request, replace(terms, life=life), change.operation))
            key = ShortLivedKey(created.key_id, created.secret, now + life)
            # Only now: what fails before ends nothing. What fails from here on is repaired, and leaves no third.
            for key_id in to_end:
                await self._issuer.delete(key_id)
            try:
                await self._record(change, request, key, to_end, within)
            except CallerError:
                await self._issuer.delete(key.key_id)
                raise
            return key

    async def _record(
        self, change: Change, request: MintRequest, key: ShortLivedKey, ended: Sequence[str], within: Within | None
    ) -> None:
        """Transaction 2. Raises ConflictError, and records nothing, if the owner is leaving."""
        change.key_version = version = KeyVersion.derived(key.key_id, None)
        owner, life = request.owner, key.ends_at - self._now()
        row = ShortKey(key.key_id, request.source, request.token)
        async with change.transaction() as connection:
            if not await self._short_keys.add(connection, row, owner=owner, life=life, operation=change.operation):
                raise leaving(owner)
            if within is not None:
                await within.record(connection, change.operation, key)
            for key_id in ended:
                await self._short_keys.remove(connection, key_id)
            ending = short_key_end(key.key_id, owner, life, version)
            await self._due.schedule_all(connection, ending, owner_check(key.key_id, owner, version))
            after = {"endedKeys": ended} if ended else None
            kept = key if request.repeated_for else None
            await change.done(kept, key_id=key.key_id, after=after, connection=connection)

    async def _require_room(
        self, request: MintRequest, to_end: list[str], within: Within | None, connection: AsyncConnection
    ) -> None:
        """Part of transaction 1, after the rate, whose row makes the others of this source wait until it commits.

        Adds to `to_end` the id of what is too much with one more key for this token.
        """
        room = await self._short_keys.room(
            connection, request.source, request.owner, token=request.token, most_of_token=_MOST_OF_A_TOKEN
        )
        if room.is_leaving:
            raise leaving(request.owner)
        if within is not None:
            await within.check(connection)
        # This one is being made, too, and the oldest of its token ends for it.
        if room.living + room.being_made > request.most_living:
            first_end = await self._short_keys.first_end(connection, request.source)
            wait = max(1, round(first_end or 0))
            rate = RateLimit("living", request.most_living, request.terms.life, 0, wait, wait)
            raise RateLimitedError(rate, f"At most {request.most_living} keys live at a time")
        if room.oldest is not None:
            to_end.append(room.oldest)


def _principal(request: MintRequest) -> Principal:
    return Principal(request.source, frozenset({Role.WORKLOAD}), manages=frozenset({request.owner}))


def _new_key(request: MintRequest, terms: KeyTerms, operation: str) -> NewKey:
    annotations = KeyAnnotations(request.alias[:_LONGEST_ALIAS].strip(), {}, operation, source=request.source)
    return NewKey(annotations, **asdict(terms))


def leaving(owner: str) -> ConflictError:
    """The error for somebody who is being off-boarded."""
    return ConflictError(f"{owner} is being off-boarded")
