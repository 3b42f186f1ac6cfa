"""Moving a key to another owner: the secret goes on working, and only whose it is changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from clients.litellm.client import LiteLLM
from domain.actions import Action, AuditEvent
from domain.errors import ConflictError, NotFoundError, UpstreamFaultError
from domain.identity import Principal
from domain.keys import DescribedKey, Key
from domain.resource_versions import require_version
from services.changes.change import Change, Repaired
from services.changes.changes import Changes
from services.keys.issuer import KeyIssuer
from services.keys.keys import Keys, no_such_key
from services.keys.rules import KeyRules
from services.owners.owners import Owners
from services.users.users import Users
from state.offboardings import Offboardings
from state.rates import RatePolicy


@dataclass(frozen=True, kw_only=True)
class TransferKey:
    """Moves keys between owners, each of whom the caller manages."""

    changes: Changes
    users: Users
    owners: Owners
    keys: Keys
    litellm: LiteLLM
    rules: KeyRules
    issuer: KeyIssuer
    offboardings: Offboardings
    rate: RatePolicy

    async def __call__(
        self, principal: Principal, user_id: str, key_id: str, to: str, expected: frozenset[str] | None
    ) -> DescribedKey:
        """The key as its new owner `to` has it; by stable id, the newest version.

        It must have one of the `expected` versions; None means any. Both owners are locked, and the audit log of each
        says what happened. Raises NotAllowedError (also beyond the new tier), InputError, NotFoundError,
        PreconditionFailedError, ConflictError (a rotation's overlap, an off-boarding, alias taken, too many keys),
        RateLimitedError, OverloadedError, UpstreamError.
        """
        if to == user_id:
            raise ConflictError(f"The key belongs to {user_id} already")
        principal = await self._managing_both(principal, to)
        await self.users.ensure_own(principal, user_id)
        # Before the new owner gets a user: a request that is refused changes nothing.
        async with self.changes.checking(principal, Action.KEY_TRANSFER, to):
            pass
        async with self.changes.checking(principal, Action.KEY_TRANSFER, user_id):
            require_version((await self.keys.get(principal, user_id, key_id)).version, expected, "key")
        await self.users.ensure_for_key(principal, to)
        async with self._locked(principal, user_id, to, key_id) as (giving, taking):
            await self.users.require(taking.scope, to)
            await self.issuer.delete_abandoned(user_id, giving.interrupted)
            found_id, _ = await self.keys.find(giving, user_id, key_id)
            described = await self._require_free(user_id, to, found_id, expected)
            await self._note(giving, taking, described.key, by_stable_id=found_id != key_id)
            await self.rules.check_transfer(principal, taking.scope, described.key, to)
            if not await self.litellm.move_key(found_id, to):
                raise no_such_key(user_id)
            moved = await self._moved(to, found_id)
            async with giving.transaction() as connection:
                await self.issuer.schedule_owner_check(connection, found_id, to, described.key.key_version)
                await giving.done(after={"owner": to}, connection=connection)
            await taking.done(after={"owner": to})
        return moved

    async def repair(self, event: AuditEvent) -> Repaired:
        """An interrupted transfer moved the key or did not: both are whole. Raises UpstreamError."""
        if event.key_id is None:
            return Repaired({})  # it did not come to find the version
        owned = await self.litellm.owner_of_key(event.key_id)
        if owned is None:
            return Repaired({"owner": None})
        async with self.changes.table.transaction() as connection:
            await self.issuer.schedule_owner_check(connection, event.key_id, owned.owner, owned.key_version)
        return Repaired({"owner": owned.owner}, key_version=owned.key_version)

    async def _managing_both(self, principal: Principal, to: str) -> Principal:
        receiving = await self.owners.acting(principal, to)
        refusal = receiving.refusal if to not in receiving.manages else principal.refusal
        return replace(receiving, manages=principal.manages | receiving.manages, refusal=refusal)

    @staticmethod
    async def _note(giving: Change, taking: Change, key: Key, *, by_stable_id: bool) -> None:
        """Says in both changes which version of which key it is, and whose it was."""
        if by_stable_id:
            await taking.find(key, {"owner": key.owner})
        giving.key_version = taking.key_version = key.key_version
        giving.before = giving.before or {"owner": key.owner}
        taking.before = {"owner": key.owner}

    @asynccontextmanager
    async def _locked(
        self, principal: Principal, user_id: str, to: str, key_id: str
    ) -> AsyncIterator[tuple[Change, Change]]:
        """A change of each owner, begun in the order of their ids, so that two transfers never wait for each other."""
        first, second = sorted((user_id, to))
        requested = {"from": user_id, "owner": to}
        async with (
            self.changes.begin(
                principal, Action.KEY_TRANSFER, first, key_id=key_id, requested=requested, rate=self.rate
            ) as one,
            self.changes.begin(principal, Action.KEY_TRANSFER, second, key_id=key_id, requested=requested) as other,
        ):
            yield (one, other) if first == user_id else (other, one)

    async def _require_free(self, user_id: str, to: str, key_id: str, expected: frozenset[str] | None) -> DescribedKey:
        described = await self.keys.read(user_id, key_id, expected=expected)
        if described.replaced or described.revocation is not None:
            raise ConflictError("The overlap of a rotation has not ended; transfer the key when it has")
        if described.key.is_session:
            raise ConflictError("LiteLLM made this key for a sign-in; it has no other owner")
        leaving = await self.offboardings.among((user_id, to))
        if leaving:
            raise ConflictError(f"{', '.join(sorted(leaving))} is being off-boarded")
        return described

    async def _moved(self, to: str, key_id: str) -> DescribedKey:
        try:
            return await self.keys.show(to, key_id)
        except NotFoundError as error:
            raise UpstreamFaultError(
                "LiteLLM confirmed that the key has another owner, and then had the old one"
            ) from error
