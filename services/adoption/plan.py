"""Whom to adopt, and whom to leave: pure rules over what LiteLLM, the catalog and our own records say."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson

from domain.adoption import (
    Account,
    AccountKeys,
    AdoptionConflict,
    AdoptionEntry,
    AdoptionOrder,
    AdoptionPlan,
    Candidate,
    ConflictKind,
)

_ROLES = (None, "internal_user", "internal_user_viewer")
_NEVER_ODD = {"created_at"}


@dataclass(frozen=True, slots=True)
class Found:
    """An account with one owner, and what LiteLLM has of both. `owner` is None if the owner's ref has no user yet."""

    candidate: Candidate
    account: Account
    keys: AccountKeys
    owner: Account | None
    owner_keys: AccountKeys

    @property
    def ref(self) -> str:
        """The owner's ref."""
        return self.candidate.owners[0]


def unambiguous(candidates: Iterable[Candidate]) -> tuple[list[Candidate], list[AdoptionConflict]]:
    """Those with one owner who has no other account, and why the others are none of these."""
    accounts: dict[str, list[Candidate]] = defaultdict(list)
    conflicts = []
    for candidate in candidates:
        if len(candidate.owners) > 1:
            who = ", ".join(candidate.owners)
            message = f"It may be the account of {who}; correct the addresses in the catalog, or delete it in LiteLLM"
            conflicts.append(AdoptionConflict(candidate.account, None, ConflictKind.SHARED_ADDRESS, message))
        for owner in candidate.owners:
            accounts[owner].append(candidate)
    clear = []
    for owner, theirs in sorted(accounts.items()):
        ids = sorted(candidate.account for candidate in theirs)
        for candidate in theirs:
            others = ", ".join(account for account in ids if account != candidate.account)
            if len(candidate.owners) == 1 and not others:
                clear.append(candidate)
            elif len(candidate.owners) == 1:
                message = f"{others} may be {owner}'s too; keep one account of each person in LiteLLM"
                conflicts.append(AdoptionConflict(candidate.account, owner, ConflictKind.TWO_ACCOUNTS, message))
    return clear, conflicts


def obstacles(found: Found, leaving: Container[str]) -> Iterator[AdoptionConflict]:
    """Each reason to leave the account as it is. `leaving` are those who are being off-boarded."""
    candidate = found.candidate
    reasons = [*_of_both(found, leaving), *_of_account(found), *_of_owner(found)]
    for kind, message in reasons:
        yield AdoptionConflict(candidate.account, candidate.owners[0], kind, message)


def _of_both(found: Found, leaving: Container[str]) -> Iterator[tuple[ConflictKind, str]]:
    both = [each for each in (found.account, found.owner) if each is not None]
    if found.ref in leaving or found.candidate.account in leaving:
        yield ConflictKind.OFFBOARDING, f"{found.ref} is being off-boarded; wait until that has ended"
    if odd := sorted({name for each in both for name in each.user.odd} - _NEVER_ODD):
        yield ConflictKind.ODD, f"LiteLLM's row makes no sense: {', '.join(odd)}; correct it there"
    if found.keys.odd or found.owner_keys.odd:
        yield ConflictKind.ODD, "LiteLLM does not show all keys, or shows one without an id; correct them there"
    if roles := sorted({str(each.role) for each in both if each.role not in _ROLES}):
        yield ConflictKind.ROLE, f"It is {', '.join(roles)} in LiteLLM, and would lose that; give it another role there"


def _of_account(found: Found) -> Iterator[tuple[ConflictKind, str]]:
    if found.account.settings:
        names = ", ".join(found.account.settings)
        yield ConflictKind.SETTINGS, f"{names} cannot be carried over; remove what is set there in LiteLLM"
    if number := len(found.keys.in_teams):
        yield (
            ConflictKind.TEAM_KEY,
            f"{number} of its keys are in a team; take them out of it in LiteLLM, or delete them",
        )


def _of_owner(found: Found) -> Iterator[tuple[ConflictKind, str]]:
    owner, ref = found.owner, found.ref
    if owner is None or owner.continues(found.candidate.account):
        return
    if not found.owner_keys.is_empty:
        yield ConflictKind.OWNER_HAS_KEYS, f"{ref} has keys already; delete them, or this account"
    if different := [name for name, value in found.account.limits.items() if owner.limits[name] != value]:
        message = f"{ref} exists with other limits ({', '.join(different)}); make them equal, or delete {ref}"
        yield ConflictKind.OWNER_HAS_OTHER_LIMITS, message


def is_done(found: Found, order: AdoptionOrder) -> bool:
    """Whether an earlier run adopted the account, and nothing is left to do."""
    if found.owner is None or not found.owner.continues(found.candidate.account) or found.keys.ids:
        return False
    return found.account.is_in_teams or not order.delete_emptied


def entry_of(found: Found) -> AdoptionEntry:
    """The entry of an account without obstacles."""
    return AdoptionEntry(
        owner=found.ref,
        account=found.candidate.account,
        match=found.candidate.match,
        keys=found.keys.ids,
        limits=found.account.limits,
        spend=found.account.user.spend,
        is_new=found.owner is None,
    )


def is_as_planned(entry: AdoptionEntry, found: AdoptionEntry) -> bool:
    """Whether what was found is what the entry says. What was spent grows all the time, and is taken as it is."""
    return _fixed(entry) == _fixed(found)


def make_plan(
    order: AdoptionOrder, entries: Iterable[AdoptionEntry], conflicts: Sequence[AdoptionConflict], unmatched: int
) -> AdoptionPlan:
    """The plan: the first `order.limit` owners, sorted."""
    ready = sorted(entries, key=lambda entry: entry.owner)
    chosen = tuple(ready[: order.limit])
    return AdoptionPlan(
        entries=chosen,
        conflicts=tuple(sorted(conflicts, key=lambda row: (row.account, row.kind))),
        hash=_hash(order, chosen),
        postponed=len(ready) - len(chosen),
        unmatched=unmatched,
    )


def _hash(order: AdoptionOrder, entries: Iterable[AdoptionEntry]) -> str:
    done = [order.delete_emptied, [_fixed(entry) for entry in entries]]
    return hashlib.sha256(orjson.dumps(done, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _fixed(entry: AdoptionEntry) -> Sequence[str | bool | Sequence[str] | Mapping[str, object]]:
    return [entry.owner, entry.account, entry.is_new, sorted(entry.keys), dict(entry.limits)]
