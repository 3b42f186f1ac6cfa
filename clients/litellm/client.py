"""LiteLLM's management API. Its quirks stay in this package.

Facts are from https://docs.litellm.ai/docs/proxy/virtual_keys and LiteLLM 1.104.5; `tests/conformance` checks each on
the real product. User ids are LiteLLM's `user_id` (here always a Backstage user ref in lower case), key ids its
`token`, the SHA-256 of the secret. Money is in USD.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec.json import Decoder

from clients.chunks import chunks
from clients.exchange import NOT_JSON, Reply
from clients.litellm.fields import KeyPage, SweptPage
from clients.litellm.lists import U, read_all, read_page, read_users
from clients.litellm.odd import KEYS, USERS, WHOLE_ROW, OddRows, unreadable_user
from clients.litellm.refused_by_litellm import is_missing, refusal_in
from clients.litellm.rows import (
    ANNOTATIONS,
    UNLIMITED_RATE,
    alias_in_litellm,
    annotated,
    created_key_from,
    decoded,
    entry_from,
    found_from,
    is_ours,
    key_from,
    key_page,
    key_version_in,
    odd_columns,
    require_success,
    stranger_from,
    unexpected_response,
    user_annotations,
    user_from,
    user_page,
    with_entity_uid,
)
from clients.upstream import Upstream
from domain.directory import DirectoryEntry, Stranger, Window
from domain.errors import ConflictError, NotFoundError, UpstreamFaultError, ValuesRefusedError
from domain.keys import KEY_LIMITS, CreatedKey, Key, KeyAnnotations, NewKey, OwnedKey, ShownKeys
from domain.models import ALL_MODELS
from domain.offboarding import FoundUser
from domain.users import USER_LIMITS, NewUser, User, UserChanges

_PAGE_SIZE = 100  # LiteLLM refuses more with 422
_MAX_IDS_BYTES = 7000
_SWEPT_PAGES = Decoder(SweptPage)


class LiteLLM:
    """One LiteLLM. Every call raises UpstreamError. `odd` hears of its odd rows."""

    def __init__(self, upstream: Upstream, odd: OddRows | None = None) -> None:
        self._upstream = upstream
        self._odd = odd or OddRows()

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._upstream.aclose()

    async def user_exists(self, user_id: str) -> bool:
        """`GET /v2/user/info`, the cheapest call that says so."""
        reply = await self._upstream.read("/v2/user/info", {"user_id": user_id})
        if is_missing(reply):
            return False
        if as_object(reply).get("user_id") != user_id:
            raise unexpected_response("user")
        return True

    async def read_user(self, user_id: str) -> User | None:
        """`GET /user/list`: the user, or None. The calls for a single user lack the rates, or return all keys too."""
        return (await self.read_users([user_id])).get(user_id)

    async def read_users(self, user_ids: Sequence[str]) -> dict[str, User]:
        """`GET /user/list`: those of `user_ids` that exist. One call for 100 users, unless their ids are long.

        A user that LiteLLM fails to show is in the result, with everything odd but the id.
        """
        wanted = frozenset(user_ids)
        rows, unreadable = await self.users_among(user_ids, user_page)
        users = [row for row in rows if row.user_id in wanted] + [unreadable_user(user_id) for user_id in unreadable]
        for row in users:
            self._odd.note(USERS, row.user_id, odd_columns(row) if row.user_id not in unreadable else [WHOLE_ROW])
        return {row.user_id: user_from(row) for row in users}

    async def find_users(self, user_ids: Collection[str]) -> dict[str, FoundUser]:
        """`GET /user/list`: those of `user_ids` that exist, whatever else their rows contain.

        A user that LiteLLM fails to show is in the result, as one that this service did not create, with 0 keys.
        """
        wanted = frozenset(user_ids)
        rows, unreadable = await self.users_among(user_ids, _swept_page)
        for user_id in unreadable:
            self._odd.note(USERS, user_id, [WHOLE_ROW])
        found = {row.user_id: found_from(row) for row in rows if row.user_id in wanted}
        return found | dict.fromkeys(unreadable, FoundUser(0, is_ours=False))

    async def users_among(self, user_ids: Collection[str], decode: Callable[[Reply], U]) -> tuple[list[Any], list[str]]:
        """`GET /user/list`: the rows of those users that exist, as `decode` reads a page of them.

        Beside them the ids of those that exist and LiteLLM fails to show.
        """

        async def read(some: Sequence[str], number: int) -> U:
            # One id matches substrings, several ids match exactly: so a single id is sent twice.
            joined = ",".join([*some, *some] if len(some) == 1 else some)
            query = {"user_ids": joined, "page_size": _PAGE_SIZE} | ({} if number == 1 else {"page": number})
            return decode(await self._upstream.read("/user/list", query))

        rows: list[Any] = []
        unreadable: list[str] = []
        for some in chunks(user_ids, prefix=",", longest=_MAX_IDS_BYTES, most=_PAGE_SIZE):
            found, failed = await read_users(read, some)
            rows += found
            unreadable += failed
        return rows, unreadable

    async def users_around(self, index: int) -> Window:
        """`GET /user/list`: consecutive users in LiteLLM's order of ids, among them the one at `index` (from 0).

        The pages are only stable if sorted by a unique column: rows with equal times wander between pages. LiteLLM
        takes no offset; the size of the page is chosen so that the window begins as closely before `index` as possible.
        """
        size = max(range(_PAGE_SIZE // 2 + 1, _PAGE_SIZE + 1), key=lambda size: size - index % size)
        start = index // size * size
        shown = await read_page(self._swept, start // size + 1, size)
        rows = [row for row in shown.rows if row is not None and isinstance(row.user_id, str)]
        nameless = len(shown.rows) - len(rows)
        self._odd.note(USERS, "?", [WHOLE_ROW] * nameless)
        entries: list[DirectoryEntry] = []
        strangers: list[Stranger] = []
        for row in rows:
            if is_ours(row):
                entries.append(entry_from(row))
            elif stranger := stranger_from(row):
                strangers.append(stranger)
        return Window(start, [row.user_id for row in rows], entries, shown.page.total, nameless, strangers)

    async def create_user(self, user_id: str, new: NewUser) -> None:
        """`POST /user/new`, without the key that LiteLLM creates by default.

        Raises ConflictError if the user exists, or another user with that e-mail address. Several concurrent calls may
        succeed: read the user back.
        """
        body = {"user_id": user_id, "user_role": "internal_user", "auto_create_key": False}
        properties = {name: getattr(new, name) for name in USER_LIMITS} | {
            "models": list(new.models) or None,
            "user_alias": new.display_name,
            "user_email": new.email,
            "metadata": user_annotations(new.tier, new.taken_email, new.entity_uid),
        }
        reply = await self._upstream.change("/user/new", body | _given(properties))
        if reply.status == 409:
            raise ConflictError(f"{user_id} already exists")
        accepted(reply)

    async def update_user(self, user_id: str, changes: UserChanges) -> None:
        """`POST /user/update` of limits. None, and empty `models`, clear a field: LiteLLM ignores an empty list.

        LiteLLM creates a user that does not exist: check that they exist first.
        """
        cleared = {"models": [ALL_MODELS], "tpm_limit": UNLIMITED_RATE, "rpm_limit": UNLIMITED_RATE}
        sent = {name: cleared.get(name) if value is None or value == [] else value for name, value in changes.items()}
        accepted(await self._upstream.change("/user/update", {"user_id": user_id, **sent}))

    async def annotate_user(self, user_id: str, entity_uid: str) -> None:
        """`POST /user/update` of the uid among our annotations. Raises NotFoundError.

        LiteLLM replaces metadata as a whole, so what else is stored there is sent again.
        """
        rows, _ = await self.users_among([user_id], user_page)
        row = next((row for row in rows if row.user_id == user_id), None)
        if row is None:
            raise no_such_user(user_id)
        metadata = with_entity_uid(row.metadata or {}, entity_uid)
        accepted(await self._upstream.change("/user/update", {"user_id": user_id, "metadata": metadata}))

    async def create_key(self, user_id: str, new: NewKey) -> CreatedKey:
        """`POST /key/generate`, for model calls only (`key_type: llm_api`).

        LiteLLM creates keys for users that do not exist: check that they exist. If it refuses the alias by which its
        own pages would show the key, the key is created without. Raises ValuesRefusedError.
        """
        alias, operation = new.annotations.alias, new.annotations.operation
        properties = {name: getattr(new, name) for name in KEY_LIMITS} | {
            "models": list(new.models) or None,
            "duration": None if new.life is None else f"{new.life}s",
            "spend": new.spend or None,
        }
        body = {"user_id": user_id, "key_type": "llm_api", "metadata": annotated(new.annotations, new.other_metadata)}
        named = {"key_alias": alias_in_litellm(user_id, alias, operation)} if alias and operation else {}
        row = await self._generated(body | _given(properties), named)
        return created_key_from(row, user_id)

    async def _generated(self, body: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, Any]:
        try:
            return accepted(await self._upstream.change("/key/generate", {**body, **named}))
        except ValuesRefusedError as error:
            if not (named and error.concerns_alias):
                raise
        return accepted(await self._upstream.change("/key/generate", body))

    async def show_keys(self, user_id: str) -> list[Key]:
        """`GET /key/list`: all keys of exactly this user, newest first, each once, with what can be read of them.

        For lists. What LiteLLM fails to show is left out.
        """
        return [*(await self._listed(user_id, {})).keys]

    async def list_keys(self, user_id: str) -> list[Key]:
        """As `show_keys`, for decisions: UpstreamFaultError if a key is not there or odd where a decision may look."""
        return [_readable(key) for key in _all_shown(await self._listed(user_id, {}))]

    async def created_by(self, user_id: str, operations: Collection[str]) -> list[str]:
        """`GET /key/list`: ids of this user's keys that these operations created, whatever else their rows contain.

        UpstreamFaultError if a key is not there: it may be one of them.
        """
        keys = _all_shown(await self._listed(user_id, {}))
        return [key.id for key in keys if key.annotations and key.annotations.operation in operations]

    async def versions_of(self, user_id: str, stable_id: str) -> list[Key]:
        """`GET /key/list`: the versions of this user's key that exist, the newest first, with what can be read of them.

        UpstreamFaultError if a key is not there: it may be one of them.
        """
        keys = _all_shown(await self._listed(user_id, {}))
        return sorted(
            (key for key in keys if key.key_version.stable_id == stable_id), key=lambda key: key.age, reverse=True
        )

    async def show_key(self, user_id: str, key_id: str) -> Key | None:
        """`GET /key/list`: this user's key with that id, with what can be read of it. None if they have none."""
        shown = await self._listed(user_id, {"key_hash": key_id})
        key = next((key for key in shown.keys if key.id == key_id), None)
        if key is None and shown.unreadable:
            raise UpstreamFaultError("LiteLLM does not show the key")
        return key

    async def read_key(self, user_id: str, key_id: str) -> Key | None:
        """As `show_key`, for decisions: UpstreamFaultError if it is odd where a decision may look."""
        key = await self.show_key(user_id, key_id)
        return None if key is None else _readable(key)

    async def read_row(self, user_id: str, key_id: str) -> dict[str, Any] | None:
        """`GET /key/info`: all that LiteLLM has of this user's key, by its names, without our annotations.

        Only to compare keys, never to show: the operator's secrets may be among it. `/key/list` leaves columns out,
        such as `policies`. None if there is no such key.
        """
        info = await self._info(key_id)
        if info is None or info.get("user_id") != user_id:
            return None
        metadata = info.get("metadata")
        if not isinstance(metadata, dict):
            return info
        return info | {"metadata": {name: value for name, value in metadata.items() if name != ANNOTATIONS}}

    async def update_key(self, key: Key, changes: Mapping[str, Any], annotations: KeyAnnotations) -> None:
        """`POST /key/update` of limits, `blocked` and our annotations. None clears a field. Raises NotFoundError.

        LiteLLM replaces metadata as a whole, so what others store there is sent again. This is the way to block a key
        and to say in the same moment who did: `{"blocked": True}` together with `annotations.block`.
        """
        sent = {name: [] if name == "models" and value is None else value for name, value in changes.items()}
        metadata = annotated(annotations, key.other_metadata)
        reply = await self._upstream.change("/key/update", {"key": key.id, "metadata": metadata, **sent})
        if is_missing(reply):
            raise no_such_key()
        accepted(reply)

    async def move_key(self, key_id: str, user_id: str) -> bool:
        """`POST /key/update`: the key is the user's from now on, with all that it has. False if there is no such key.

        LiteLLM moves a key to a user that does not exist, too: check that they do. The secret stays what it is.
        """
        reply = await self._upstream.change("/key/update", {"key": key_id, "user_id": user_id})
        if is_missing(reply):
            return False
        if accepted(reply).get("user_id") != user_id:
            raise unexpected_response("key of the new owner")
        return True

    async def owner_of_key(self, key_id: str) -> OwnedKey | None:
        """`GET /key/info`: whose key it is, and which version. None if there is no such key, or nobody owns it."""
        info = await self._info(key_id)
        owner = None if info is None else info.get("user_id")
        if info is None or not isinstance(owner, str):
            return None
        return OwnedKey(owner, key_version_in(info.get("metadata"), key_id, owner))

    async def has_key(self, key_id: str) -> bool:
        """`GET /key/info`: whether there is such a key, whoever owns it."""
        return await self._info(key_id) is not None

    async def delete_key(self, key_id: str) -> None:
        """`POST /key/delete`. LiteLLM deletes anybody's key: check the owner first. Raises NotFoundError."""
        reply = await self._upstream.change("/key/delete", {"keys": [key_id]})
        if is_missing(reply):
            raise no_such_key()
        if as_object(reply).get("deleted_keys") != [key_id]:
            raise unexpected_response("deletion")

    async def set_key_blocked(self, key_id: str, *, blocked: bool) -> None:
        """`POST /key/block` or `/key/unblock`. Raises NotFoundError."""
        reply = await self._upstream.change("/key/block" if blocked else "/key/unblock", {"key": key_id})
        if is_missing(reply):
            raise no_such_key()
        if as_object(reply).get("blocked") is not blocked:
            raise unexpected_response("blocked key" if blocked else "unblocked key")

    async def delete_user(self, user_id: str) -> None:
        """`POST /user/delete`: deletes the user and all their keys. Raises NotFoundError.

        One user at a time: LiteLLM deletes all users of a list or none.
        """
        reply = await self._upstream.change("/user/delete", {"user_ids": [user_id]})
        if is_missing(reply):
            raise no_such_user(user_id)
        require_success(reply)
        if reply.parsed() != 1:
            raise unexpected_response("deletion")

    async def is_ready(self) -> bool:
        """`GET /health/readiness`: whether LiteLLM answers and has its database. Raises UpstreamError."""
        reply = await self._upstream.watch("/health/readiness")
        body = reply.parsed()
        if not isinstance(body, dict):
            body = as_object(reply)  # raises: it is not LiteLLM that answers
        return reply.status == 200 and body.get("db") == "connected"

    async def version(self) -> str:
        """`GET /health/readiness/details`: LiteLLM's version, such as 1.104.5."""
        version = as_object(await self._upstream.read("/health/readiness/details")).get("litellm_version")
        if not isinstance(version, str):
            raise unexpected_response("version")
        return version

    async def _info(self, key_id: str) -> dict[str, Any] | None:
        reply = await self._upstream.read("/key/info", {"key": key_id})
        if is_missing(reply):
            return None
        info = as_object(reply).get("info")
        if not isinstance(info, dict):
            raise unexpected_response("key")
        # LiteLLM returns a deleted key for a while, with this status.
        return None if info.get("status") == "deleted" else info

    async def _swept(self, number: int, size: int) -> SweptPage:
        query = {"page": number, "page_size": size, "sort_by": "user_id", "sort_order": "asc"}
        return _swept_page(await self._upstream.read("/user/list", query))

    async def _listed(self, user_id: str, query: Mapping[str, Any]) -> ShownKeys:
        rows = await read_all(partial(self._page_of_keys, user_id, query), _PAGE_SIZE)
        theirs = [row for row in rows if row is not None and row.user_id == user_id]
        keys = {key.id: key for key in (key_from(row, user_id) for row in theirs if row.token)}
        for key in keys.values():
            self._odd.note(KEYS, key.id, key.odd)
        missing = sum(row is None for row in rows) + sum(not row.token for row in theirs)
        self._odd.note(KEYS, user_id, [WHOLE_ROW] * missing)
        return ShownKeys(sorted(keys.values(), key=lambda key: key.position, reverse=True), missing)

    async def _page_of_keys(self, user_id: str, query: Mapping[str, Any], number: int, size: int) -> KeyPage:
        whole = {"user_id": user_id, "return_full_object": "true", "size": size, "sort_by": "token", **query}
        return key_page(await self._upstream.read("/key/list", whole | {"page": number}))


def _swept_page(reply: Reply) -> SweptPage:
    return decoded(reply, _SWEPT_PAGES, "list of users")


def _all_shown(shown: ShownKeys) -> Iterable[Key]:
    if shown.unreadable:
        raise UpstreamFaultError(f"LiteLLM does not show {shown.unreadable} keys of the user")
    return shown.keys


def _readable(key: Key) -> Key:
    if key.undecidable:
        raise UpstreamFaultError(f"LiteLLM's row of key {key.id} makes no sense: {', '.join(sorted(key.undecidable))}")
    return key


def accepted(reply: Reply) -> dict[str, Any]:
    """The JSON object of a change that LiteLLM accepted. Raises ValuesRefusedError and what `as_object` raises."""
    if (refusal := refusal_in(reply)) is not None:
        raise refusal
    return as_object(reply)


def as_object(reply: Reply) -> dict[str, Any]:
    """The JSON object of a successful response. Raises UpstreamFaultError."""
    require_success(reply)
    body = reply.parsed()
    if body is NOT_JSON:
        raise UpstreamFaultError("LiteLLM returned a response that is not JSON")
    if not isinstance(body, dict):
        raise unexpected_response("JSON object")
    return body


def no_such_user(user_id: str) -> NotFoundError:
    """The error for a user who does not exist in LiteLLM."""
    return NotFoundError(f"LiteLLM has no user {user_id}")


def no_such_key() -> NotFoundError:
    """For LiteLLM's 404 about a key."""
    return NotFoundError("There is no key with that id")


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
