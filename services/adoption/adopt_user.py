"""Adopting one account: its limits and spend, then its keys, go to the user of its owner's ref.

The user is created together with what was spent and with a note of whose account they continue: one row, one call. So
every later step can be done again, and a repair goes on where an interrupted change ended. Each key belongs to one of
the two at every moment, and its secret works all the time.

The lock is the owner's. The account needs none of its own: nothing here changes a user under an id that is no ref in
lower case, but for the off-boarding, whose lock for another spelling of the ref is the same one, and other adoptions,
of which there is one at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import structlog

from clients.litellm.accounts import LiteLLMAccounts
from clients.litellm.client import LiteLLM
from domain.actions import Action, AuditEvent
from domain.adoption import Account, Adopted, AdoptionEntry, AdoptionOrder, Candidate
from domain.directory import entry_of as directory_entry
from domain.errors import ConflictError, UpstreamFaultError, ValuesRefusedError
from domain.identity import Principal
from domain.users import USER_LIMITS, UserChanges
from services.adoption.plan import is_as_planned
from services.adoption.reading import AdoptionReader
from services.changes.change import Change, Repaired
from services.changes.changes import Changes
from state.directory import Directory
from state.offboardings import Offboardings

log = structlog.get_logger(__name__)

Beat = Callable[[], Awaitable[None]]
"""Awaited before each step: renews a lease, and raises if it is lost."""


async def _no_beat() -> None:
    """A repair holds no lease."""


@dataclass(frozen=True, kw_only=True)
class AdoptUser:
    """Adopts accounts."""

    changes: Changes
    litellm: LiteLLM
    accounts: LiteLLMAccounts
    offboardings: Offboardings
    directory: Directory

    async def __call__(
        self, principal: Principal, entry: AdoptionEntry, order: AdoptionOrder, reader: AdoptionReader, beat: Beat
    ) -> Adopted:
        """Adopts the account of `entry`, if it still is as that says.

        Raises NotAllowedError, ConflictError (it is not), InputError (LiteLLM refuses a value), OverloadedError,
        UpstreamError, and what `beat` raises: then the next run, or the repair, goes on.
        """
        limits = dict(entry.limits) if entry.is_new else None
        requested = {"account": entry.account, "keys": list(entry.keys), "deleteEmptied": order.delete_emptied}
        requested |= {} if limits is None else {"limits": limits}
        async with self.changes.begin(principal, Action.USER_ADOPT, entry.owner, requested=requested) as change:
            found = await self.accounts.read([entry.account, entry.owner])
            candidate = Candidate(entry.account, (entry.owner,), entry.match)
            now, conflicts = await reader.look(candidate, order, found, await self.offboardings.all())
            if now is None or not is_as_planned(entry, now):
                why = conflicts[0].message if conflicts else "It changed since the plan was made; make a new one"
                raise ConflictError(why)
            change.before = {"account": entry.account, "limits": dict(now.limits), "spend": now.spend}
            adopted = await self._adopt(entry.owner, requested, beat)
            await self._end(change, adopted)
            return adopted

    async def repair(self, event: AuditEvent) -> Repaired:
        """Goes on with an adoption that was interrupted, if it was begun. Raises UpstreamError."""
        asked: Mapping[str, Any] = event.requested or {}
        owner_id = str(event.target)
        owner = (await self.accounts.read([owner_id])).get(owner_id)
        if owner is None or not owner.continues(str(asked.get("account"))):
            return Repaired({"adopted": False})
        return Repaired({"adopted": True} | _after(await self._adopt(owner_id, asked, _no_beat)))

    async def _adopt(self, owner_id: str, asked: Mapping[str, Any], beat: Beat) -> Adopted:
        """Whatever of it is left to do. `asked` is as in the audit log: with `limits` for a new user."""
        account_id = asked["account"]
        await self._count(owner_id, account_id)
        if "limits" in asked:
            await self._apply(owner_id, asked["limits"])
        moved = await self._move(owner_id, account_id, asked["keys"], beat)
        # LiteLLM writes what was spent some seconds later.
        account = await self._count(owner_id, account_id)
        deleted, kept_because = account is None, None
        if account is not None and asked["deleteEmptied"]:
            await beat()
            kept_because = await self._delete(account)
            deleted = kept_because is None
        owner = await self._require_owner(owner_id)
        if deleted and owner.has_address_to_give:
            await self.accounts.give_address(owner)
        return Adopted(owner_id, account_id, moved, deleted, kept_because)

    async def _count(self, owner_id: str, account_id: str) -> Account | None:
        """Has the owner's spend contain the account's, once. Returns the account, None if it is gone."""
        found = await self.accounts.read([account_id, owner_id])
        account, owner = found.get(account_id), found.get(owner_id)
        if account is None:
            return None
        if owner is None:
            await self.accounts.create(owner_id, account, account.user.email or account.user.taken_email)
        elif not owner.continues(account_id) or owner.uncounted(account) > 0:
            await self.accounts.add_spend(owner, account, owner.uncounted(account))
        return account

    async def _apply(self, owner_id: str, limits: Mapping[str, Any]) -> None:
        """Has the new user have these limits: LiteLLM's own defaults may have filled in what was not limited."""
        owner = await self._require_owner(owner_id)
        wrong = [name for name in USER_LIMITS if owner.limits[name] != limits[name]]
        if not wrong:
            return
        try:
            # An empty list means all models; a budget of 0 is one.
            changes = {name: None if limits[name] == [] else limits[name] for name in wrong}
            await self.litellm.update_user(owner_id, cast("UserChanges", changes))
        except ValuesRefusedError as error:
            log.warning("LiteLLM insists on other limits than the account's", user=owner_id, reason=error.reason)

    async def _move(self, owner_id: str, account_id: str, keys: Collection[str], beat: Beat) -> int:
        """Moves those of `keys` that the account still has. Returns their number."""
        left = set(keys) & set((await self.accounts.keys_of(account_id)).ids)
        moved = 0
        for key_id in sorted(left):
            await beat()
            moved += await self.litellm.move_key(key_id, owner_id)
        if left & set((await self.accounts.keys_of(account_id)).ids):
            raise UpstreamFaultError("LiteLLM still has keys under the old id after moving them")
        return moved

    async def _delete(self, account: Account) -> str | None:
        """Deletes the account if nothing is lost with it; otherwise says why not."""
        user_id = account.user.user_id
        if account.is_in_teams:
            return "it is in a team"
        if not (await self.accounts.keys_of(user_id)).is_empty:
            return "it has keys that were not moved"
        await self.litellm.delete_user(user_id)
        if await self.litellm.user_exists(user_id):
            raise UpstreamFaultError("LiteLLM still has the user after deleting them")
        return None

    async def _require_owner(self, owner_id: str) -> Account:
        owner = (await self.accounts.read([owner_id])).get(owner_id)
        if owner is None:
            raise UpstreamFaultError(f"LiteLLM does not have {owner_id} any more")
        return owner

    async def _end(self, change: Change, adopted: Adopted) -> None:
        owner = await self._require_owner(adopted.owner)
        async with change.transaction() as connection:
            await self.directory.put(connection, [directory_entry(owner.user)])
            if adopted.deleted:
                await self.directory.remove(connection, [adopted.account])
            after = _after(adopted) | {"limits": owner.limits, "spend": owner.user.spend}
            await change.done(after=after, connection=connection)


def _after(adopted: Adopted) -> dict[str, Any]:
    shown = asdict(adopted)
    return {"account": shown["account"], "keys": shown["keys"], "deleted": shown["deleted"]} | (
        {} if adopted.kept_because is None else {"keptBecause": adopted.kept_because}
    )
