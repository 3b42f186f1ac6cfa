"""Turns LiteLLM's rows of users and keys into nouns, and annotates what this service creates.

Our annotations stand in a row's metadata under ANNOTATIONS, apart from everything else: LiteLLM gives some names of
metadata a meaning (`temp_budget_increase`, `guardrails`, `tags`, ...), so a caller's own names never stand at its top.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar, cast

import orjson
from msgspec import DecodeError, UnsetType, ValidationError, to_builtins
from msgspec.json import Decoder, encode

from clients.exchange import Reply
from clients.litellm import odd
from clients.litellm.fields import (
    AnyKeyPage,
    AnyUserPage,
    KeyPage,
    KeyRow,
    SweptRow,
    UserPage,
    UserRow,
)
from clients.litellm.refused_by_litellm import is_litellms, is_without_database
from domain import refs
from domain.directory import DirectoryEntry, Stranger, address_of, searched_text
from domain.errors import UpstreamFaultError, UpstreamUnavailableError
from domain.keys import (
    Block,
    Blocker,
    CreatedKey,
    Key,
    KeyAnnotations,
    KeyVersion,
    is_key_id,
    is_stable_id,
    key_version_of,
)
from domain.models import ALL_MODELS, NO_MODELS
from domain.offboarding import FoundUser
from domain.users import User

T = TypeVar("T")
L = TypeVar("L")
_KEY_PAGES, _ANY_KEY_PAGES = Decoder(KeyPage), Decoder(AnyKeyPage)
_USER_PAGES, _ANY_USER_PAGES = Decoder(UserPage), Decoder(AnyUserPage)

ANNOTATIONS = "litellm_orchestrator"
UNLIMITED_RATE = 2**53 - 1
"""A rate that nobody reaches: LiteLLM ignores a null that should clear a user's `tpm_limit` or `rpm_limit`."""

SIGN_INS = "litellm-dashboard"
"""The team, which does not exist, of the keys that LiteLLM makes for sign-ins (`UI_SESSION_TOKEN_TEAM_ID` there)."""
_NOT_IN_ALIAS = re.compile(r"[^A-Za-z0-9._-]+")
_OPERATION_DIGITS = 8
_BLOCKER = re.compile(r"[a-z]{1,64}")
_SOURCE = re.compile(r"[a-z]{1,16}:[a-z0-9._-]{1,63}")
_SHOWN_AS = {"user_alias": "display_name", "user_email": "email", "metadata": "tier"}
_NOT_SHOWN = ("updated_at", "budget_reset_at")
_MOST_VERSIONS = 1_000_000
"""No key is rotated more often: what is more is not from here."""
_LATEST_TIME = datetime.max.replace(tzinfo=UTC).timestamp()


class MasterKeyRefusedError(UpstreamFaultError):
    """LiteLLM does not accept this service's key, or not for what it asks."""


class LiteLLMFailedError(UpstreamFaultError):
    """LiteLLM failed with status 500. For a list it may have failed at a single row."""


def key_page(reply: Reply) -> KeyPage:
    """A page of `/key/list`. An odd row is an OddKeyRow, and changes no other. Raises UpstreamFaultError."""

    def row_by_row(page: AnyKeyPage) -> KeyPage:
        return KeyPage(rows=[odd.key_row(row) for row in page.rows], total_pages=page.total_pages)

    return _decoded_or(row_by_row, reply, _KEY_PAGES, _ANY_KEY_PAGES, "list of keys")


def user_page(reply: Reply) -> UserPage:
    """A page of `/user/list`. An odd row is an OddUserRow, and changes no other. Raises UpstreamFaultError."""

    def row_by_row(page: AnyUserPage) -> UserPage:
        return UserPage(rows=[odd.user_row(row) for row in page.rows], total=page.total)

    return _decoded_or(row_by_row, reply, _USER_PAGES, _ANY_USER_PAGES, "list of users")


def _decoded_or(row_by_row: Callable[[L], T], reply: Reply, usual: Decoder[T], loose: Decoder[L], expected: str) -> T:
    """The page in one step, which is fast; if that fails, what `row_by_row` makes of it. Raises UpstreamFaultError."""
    require_success(reply)
    try:
        return usual.decode(reply.content)
    except (DecodeError, RecursionError, UnicodeDecodeError):
        return row_by_row(decoded(reply, loose, expected))


def decoded(reply: Reply, decoder: Decoder[T], expected: str) -> T:
    """The body of a successful response, checked. Raises UpstreamFaultError. `expected`: see `unexpected_response`."""
    require_success(reply)
    try:
        return decoder.decode(reply.content)
    except ValidationError as error:
        raise unexpected_response(expected) from error
    except (DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise UpstreamFaultError("LiteLLM returned a response that is not JSON") from error


def require_success(reply: Reply) -> None:
    """Raises UpstreamFaultError unless LiteLLM answered 200, UpstreamUnavailableError if it lacks its database."""
    if is_without_database(reply):
        raise UpstreamUnavailableError("LiteLLM cannot use its database")
    if reply.status in (401, 403):
        if is_litellms(reply):
            raise MasterKeyRefusedError("LiteLLM refused this service's master key. The operator has to correct it.")
        raise UpstreamFaultError(f"What stands before LiteLLM refused the call with status {reply.status}")
    if reply.status != 200:
        kind = LiteLLMFailedError if reply.status == 500 else UpstreamFaultError
        raise kind(f"LiteLLM failed with status {reply.status}")


def user_from(row: UserRow) -> User:
    """The user of a row of `/user/list`."""
    models = row.models or []
    return User(
        user_id=row.user_id,
        created_at=_text(row.created_at or row.updated_at),
        max_budget=row.max_budget,
        budget_duration=row.budget_duration,
        spend=row.spend,
        budget_reset_at=_text(row.budget_reset_at),
        models=() if ALL_MODELS in models and NO_MODELS not in models else tuple(models),
        tpm_limit=_rate(row.tpm_limit),
        rpm_limit=_rate(row.rpm_limit),
        tier=_annotated_text(row.metadata, "tier"),
        display_name=row.user_alias,
        email=row.user_email,
        odd=tuple(sorted(_SHOWN_AS.get(column, column) for column in odd_columns(row) if column not in _NOT_SHOWN)),
        taken_email=_annotated_text(row.metadata, "email"),
        entity_uid=_annotated_text(row.metadata, "uid"),
    )


def odd_columns(row: KeyRow | UserRow) -> frozenset[str]:
    """The columns of a row that are odd. A row that is older than the column `created_at` has a null there."""
    return row.odd | {"created_at"} if row.created_at is None else row.odd


def entry_from(row: SweptRow) -> DirectoryEntry:
    """The directory's entry for any row of `/user/list`."""
    name, email = (text if isinstance(text, str) else None for text in (row.user_alias, row.user_email))
    return DirectoryEntry(
        row.user_id,
        searched_text(row.user_id, name, email),
        is_over_budget=odd.is_over_budget(row.spend, row.max_budget),
        address=address_of(email or _annotated_text(row.metadata, "email")),
        entity_uid=_annotated_text(row.metadata, "uid"),
    )


def is_ours(row: SweptRow) -> bool:
    """Whether a row of `/user/list` is in the directory: a person, or software with the uid of its entity."""
    has_uid = _annotated_text(row.metadata, "uid") is not None
    return refs.is_user(row.user_id) or (has_uid and refs.is_software(row.user_id))


def stranger_from(row: SweptRow) -> Stranger | None:
    """The user of a row of `/user/list` that is not in the directory; None without an e-mail address.

    Their id may be one.
    """
    email = row.user_email if isinstance(row.user_email, str) else None
    address = address_of(email) or (address_of(row.user_id) if "@" in row.user_id else None)
    return None if address is None else Stranger(row.user_id, address)


def found_from(row: SweptRow) -> FoundUser:
    """What off-boarding asks of any row of `/user/list`: this service annotates every user that it creates."""
    keys = row.key_count if isinstance(row.key_count, int) else 0
    return _found(keys, is_ours=is_annotated(row.metadata))


def key_from(row: KeyRow, owner: str) -> Key:
    """The key of a row of `/key/list`, which is the user `owner`'s and has a token.

    A token that is no SHA-256 may be a secret. It goes no further: its own SHA-256 stands for it.
    """
    fields, columns = encodable(to_builtins(row)), odd_columns(row)
    fields.pop("odd", None)
    if row.created_at is None:
        del fields["created_at"]
    if not is_key_id(row.token):
        columns |= {"token"}
        fields["token"] = id_of_token(row.token)
    other_metadata = dict(fields["metadata"])
    annotations = _annotations(other_metadata.pop(ANNOTATIONS, None), owner)
    if annotations is not None:
        fields["key_alias"], fields["metadata"] = annotations.alias, dict(annotations.metadata)
    return Key(
        id=fields["token"],
        owner=owner,
        alias=fields.get("key_alias"),
        created_at=fields.get("created_at", ""),
        expires_at=_seconds(row.expires),
        is_blocked=row.blocked is True,
        fields=fields,
        annotations=annotations,
        other_metadata=other_metadata,
        is_session=row.team_id == SIGN_INS,
        odd=columns,
    )


def key_version_in(metadata: Any, key_id: str, owner: str) -> KeyVersion:
    """Which version of which key it is, by the metadata in LiteLLM's row of the user `owner`'s key."""
    written = _annotations(metadata.get(ANNOTATIONS), owner) if isinstance(metadata, dict) else None
    return key_version_of(key_id, written)


def created_key_from(row: Mapping[str, Any], owner: str) -> CreatedKey:
    """The key of an answer to `/key/generate`, which must be the user `owner`'s. Raises UpstreamFaultError."""
    key_id, secret, expires, models = (row.get(name) for name in ("token", "key", "expires", "models"))
    if not (is_key_id(key_id) and isinstance(secret, str) and secret and row.get("user_id") == owner):
        raise unexpected_response("key")
    # LiteLLM's configuration fills in what was left out. What is odd there is no reason to lose the secret.
    budget = row.get("max_budget")
    return CreatedKey(
        user_id=owner,
        key_id=str(key_id),
        secret=secret,
        expires_at=expires if isinstance(expires, str) else None,
        max_budget=budget if isinstance(budget, (int, float)) else None,
        models=[name for name in models if isinstance(name, str)] if isinstance(models, list) else [],
    )


def annotated(annotations: KeyAnnotations, other_metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A key's metadata for LiteLLM: our annotations beside what others store there."""
    written = {
        "alias": annotations.alias,
        "metadata": dict(annotations.metadata),
        "operation": annotations.operation,
    }
    replaces = {} if annotations.replaces is None else {"replaces": annotations.replaces}
    version = annotations.version
    named = {} if version is None else {"id": version.stable_id, "version": version.number}
    source = {} if annotations.source is None else {"source": annotations.source}
    return with_block({**other_metadata, ANNOTATIONS: written | replaces | named | source}, annotations.block)


def is_annotated(metadata: Any) -> bool:
    """Whether this service annotated a row with this metadata."""
    return isinstance(metadata, dict) and isinstance(metadata.get(ANNOTATIONS), dict)


def user_annotations(tier: str | None, taken_address: str | None, entity_uid: str | None) -> dict[str, Any] | None:
    """The metadata of a user: tier, the e-mail address that LiteLLM does not take, as another has it, and uid."""
    given = {"tier": tier, "email": taken_address, "uid": entity_uid}
    written = {name: value for name, value in given.items() if value is not None}
    return {ANNOTATIONS: written} if written else None


def with_entity_uid(metadata: Mapping[str, Any], entity_uid: str) -> dict[str, Any]:
    """The metadata of a user with the uid among our annotations."""
    ours = metadata[ANNOTATIONS] if is_annotated(metadata) else {}
    return {**metadata, ANNOTATIONS: {**ours, "uid": entity_uid}}


def blocker_in(metadata: Mapping[str, Any] | None) -> str | None:
    """As what somebody blocked an annotated key."""
    block = None if metadata is None else _block(metadata[ANNOTATIONS], "")
    return None if block is None else block.blocker


def with_block(metadata: Mapping[str, Any], block: Block | None) -> dict[str, Any]:
    """The metadata of an annotated key with the annotation of `block`, or without any."""
    names = ("blocked_by", "blocked_as", "blocked_at")
    kept = {name: value for name, value in metadata[ANNOTATIONS].items() if name not in names}
    values = (None, None, None) if block is None else (block.subject, block.blocker, block.since)
    given = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    return {**metadata, ANNOTATIONS: kept | given}


def alias_in_litellm(user_id: str, alias: str, operation: str) -> str:
    """What LiteLLM's own pages, metrics and mails call a key: `alice.laptop.3f9a2c1b`, in ASCII, unique by its end.

    LiteLLM's aliases are unique across all users, and an operator may restrict their form. Nothing here uses them.
    """
    words = (user_id.rpartition("/")[2], alias, operation[:_OPERATION_DIGITS])
    plain = (unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode() for word in words)
    return ".".join(filter(None, (_NOT_IN_ALIAS.sub("-", word).strip("-.") for word in plain)))


def id_of_token(token: str) -> str:
    """The id of a key whose row has this token: the token, or its SHA-256 where it may be a secret."""
    return token if is_key_id(token) else hashlib.sha256(token.encode()).hexdigest()


def encodable(value: T) -> T:
    """JSON that every encoder writes: integers of more than 64 bits become floats, as LiteLLM 1.109 shows them."""
    try:
        orjson.dumps(value)
    except TypeError:
        return cast("T", orjson.loads(encode(value)))
    return value


def unexpected_response(expected: str) -> UpstreamFaultError:
    """The error for a response whose form this service does not know. `expected` is a noun without an article."""
    return UpstreamFaultError(f"LiteLLM returned an unexpected response (expected: {expected})")


@lru_cache
def _found(keys: int, *, is_ours: bool) -> FoundUser:
    """One for all who are alike: a run finds everybody who leaves."""
    return FoundUser(keys, is_ours=is_ours)


def _annotated_text(metadata: Any, name: str) -> str | None:
    """What this service wrote under `name` in the metadata of a user."""
    text = metadata[ANNOTATIONS].get(name) if is_annotated(metadata) else None
    return text if isinstance(text, str) else None


def _annotations(value: Any, owner: str) -> KeyAnnotations | None:
    if not isinstance(value, dict):
        return None
    texts = {name: value.get(name) for name in ("alias", "operation")}
    metadata, replaces, source = (value.get(name) for name in ("metadata", "replaces", "source"))
    return KeyAnnotations(
        metadata=metadata if isinstance(metadata, dict) else {},
        replaces=replaces if is_key_id(replaces) else None,
        version=_version(value),
        block=_block(value, owner),
        source=source if isinstance(source, str) and _SOURCE.fullmatch(source) else None,
        **{name: text if isinstance(text, str) else None for name, text in texts.items()},
    )


def _version(annotations: Mapping[str, Any]) -> KeyVersion | None:
    stable_id, number = annotations.get("id"), annotations.get("version")
    if not (isinstance(stable_id, str) and is_stable_id(stable_id)):
        return None
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= _MOST_VERSIONS:
        return None
    return KeyVersion(stable_id, number)


def _block(annotations: Mapping[str, Any], owner: str) -> Block | None:
    subject, blocker, since = (annotations.get(name) for name in ("blocked_by", "blocked_as", "blocked_at"))
    if not isinstance(subject, str):
        return None
    if blocker is None:
        # Version 0.2 recorded only who it was; besides the owner, only admins could block.
        blocker = Blocker.OWNER if subject == owner else Blocker.ADMIN
    elif not (isinstance(blocker, str) and _BLOCKER.fullmatch(blocker)):
        blocker = Blocker.ADMIN
    is_time = isinstance(since, int | float) and not isinstance(since, bool) and 0 <= since < _LATEST_TIME
    return Block(subject, str(blocker), since if is_time else None)


def _seconds(moment: datetime | UnsetType | None) -> float | None:
    return moment.timestamp() if isinstance(moment, datetime) else None


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else str(to_builtins(moment))


def _rate(value: int | None) -> int | None:
    return None if value is None or value >= UNLIMITED_RATE else value
