"""Users of LiteLLM as an adoption reads and writes them: with all that has to be kept, and their keys.

Facts are from LiteLLM 1.104.5; `tests/conformance/test_litellm_accounts.py` checks each. `/user/new` and `/user/update`
take a `spend`, together with the metadata that says whose it is, so it is never counted twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from msgspec.json import Decoder

from clients.exchange import Reply
from clients.litellm import odd
from clients.litellm.client import LiteLLM, accepted
from clients.litellm.fields import AnyUserPage, ListedKeyPage
from clients.litellm.lists import read_all
from clients.litellm.rows import ANNOTATIONS, SIGN_INS, decoded, encodable, user_from
from clients.upstream import Upstream
from domain.adoption import Account, AccountKeys, Takeover
from domain.errors import ConflictError
from domain.keys import is_key_id

_PAGE_SIZE = 100
_USERS, _KEYS = Decoder(AnyUserPage), Decoder(ListedKeyPage)
_NOT_CARRIED = (
    "model_max_budget",
    "policies",
    "allowed_cache_controls",
    "object_permission_id",
    "organization_id",
    "organization_memberships",
    "budget_limits",
)
"""What an operator may set on a user, and that only LiteLLM's licence, or another table of it, can set on another."""
_TAKEOVER, _ADDRESS = "adopted", "email"


class LiteLLMAccounts:
    """The accounts of one LiteLLM. Every call raises UpstreamError."""

    def __init__(self, upstream: Upstream, litellm: LiteLLM) -> None:
        self._upstream = upstream
        self._litellm = litellm

    async def read(self, user_ids: Collection[str]) -> dict[str, Account]:
        """`GET /user/list`: those of `user_ids` that exist. What LiteLLM fails to show is odd in everything."""
        wanted = frozenset(user_ids)
        rows, unreadable = await self._litellm.users_among(user_ids, _any_user_page)
        shown = [_account(row) for row in rows if row.get("user_id") in wanted]
        hidden = [Account(user_from(odd.unreadable_user(user_id)), None) for user_id in unreadable]
        return {account.user.user_id: account for account in (*shown, *hidden)}

    async def keys_of(self, user_id: str) -> AccountKeys:
        """`GET /key/list`: the keys of exactly this user. One that cannot be named by its hash is odd."""
        rows = await read_all(partial(self._page_of_keys, user_id), _PAGE_SIZE)
        theirs = [row for row in rows if row is not None and row.user_id == user_id and row.team_id != SIGN_INS]
        named = {row.token: row.team_id for row in theirs if is_key_id(row.token)}
        return AccountKeys(
            ids=tuple(sorted(token for token, team in named.items() if not team)),
            in_teams=tuple(sorted(token for token, team in named.items() if team)),
            odd=rows.count(None) + sum(not is_key_id(row.token) for row in theirs),
        )

    async def create(self, user_id: str, account: Account, address: str | None) -> None:
        """`POST /user/new`: a user who continues `account`, with its limits, its role and what was spent.

        LiteLLM's addresses are unique, so `address` is only noted. Raises ConflictError if the user exists,
        ValuesRefusedError.
        """
        noted = {} if address is None else {_ADDRESS: address}
        body = {
            "user_id": user_id,
            "user_role": account.role or "internal_user",
            "auto_create_key": False,
            "user_alias": account.user.display_name,
            "spend": account.user.spend,
            "metadata": _metadata(account.metadata, noted | _noted(Takeover(account.user.user_id, account.user.spend))),
            **account.limits,
        }
        reply = await self._upstream.change("/user/new", {k: v for k, v in body.items() if v not in (None, [])})
        if reply.status == 409:
            raise ConflictError(f"{user_id} already exists")
        accepted(reply)

    async def add_spend(self, owner: Account, account: Account, spend: float) -> None:
        """`POST /user/update`: `spend` USD more for `owner`, who continues `account`, with the note that says so.

        What `account` must not do, its owner must not either. Raises ValuesRefusedError.
        """
        annotations = {**owner.annotations, **_noted(Takeover(account.user.user_id, account.user.spend))}
        metadata = _metadata({**owner.metadata, **account.metadata}, annotations)
        body = {"user_id": owner.user.user_id, "spend": owner.user.spend + spend, "metadata": metadata}
        role = {} if account.role is None else {"user_role": account.role}
        accepted(await self._upstream.change("/user/update", body | role))

    async def give_address(self, owner: Account) -> None:
        """`POST /user/update`: the address that was only noted, now that nobody else has it."""
        annotations = dict(owner.annotations)
        address = annotations.pop(_ADDRESS)
        body = {"user_id": owner.user.user_id, "user_email": address}
        accepted(
            await self._upstream.change("/user/update", body | {"metadata": _metadata(owner.metadata, annotations)})
        )

    async def _page_of_keys(self, user_id: str, number: int, size: int) -> ListedKeyPage:
        query = {"user_id": user_id, "return_full_object": "true", "sort_by": "token", "size": size, "page": number}
        return decoded(await self._upstream.read("/key/list", query), _KEYS, "list of keys")


def _any_user_page(reply: Reply) -> AnyUserPage:
    return decoded(reply, _USERS, "list of users")


def _account(row: Mapping[str, Any]) -> Account:
    metadata = row.get("metadata")
    metadata = encodable(dict(metadata)) if isinstance(metadata, dict) else {}
    annotations = metadata.pop(ANNOTATIONS, None)
    annotations = annotations if isinstance(annotations, dict) else {}
    parallel, role = row.get("max_parallel_requests"), row.get("user_role")
    is_number = isinstance(parallel, int) and not isinstance(parallel, bool)
    odd_number = [] if parallel is None or is_number else ["max_parallel_requests"]
    return Account(
        user=user_from(odd.user_row(row)),
        role=role if role is None else str(role),
        max_parallel_requests=parallel if is_number else None,
        settings=tuple(odd_number + [name for name in _NOT_CARRIED if row.get(name)]),
        is_in_teams=bool(row.get("teams") or row.get("team_id")),
        metadata=metadata,
        annotations=annotations,
        takeover=_takeover(annotations.get(_TAKEOVER)),
    )


def _takeover(note: Any) -> Takeover | None:
    account, spend = (note.get(name) if isinstance(note, dict) else None for name in ("from", "spend"))
    if isinstance(account, str) and isinstance(spend, int | float) and not isinstance(spend, bool):
        return Takeover(account, spend)
    return None


def _noted(takeover: Takeover) -> dict[str, Any]:
    return {_TAKEOVER: {"from": takeover.account, "spend": takeover.spend}}


def _metadata(others: Mapping[str, Any], annotations: Mapping[str, Any]) -> dict[str, Any]:
    return {**others, ANNOTATIONS: dict(annotations)}
