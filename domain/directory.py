"""The directory: which users LiteLLM has, as far as this service knows, in its own database.

A sweep reads all of LiteLLM's users, page by page, and then begins again. LiteLLM has offsets only, and its rows shift
when users come and go. So consecutive windows overlap: two windows that share a row have nothing between them, and a
sweep of overlapping windows misses nobody who existed throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domain.users import User


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A user in the directory. `searched` is the text in lower case that a search looks at; it begins with the id.

    `address` is their e-mail address in lower case, as far as it is known. `entity_uid`: as in `NewUser`.
    """

    user_id: str
    searched: str
    is_over_budget: bool
    address: str | None = None
    entity_uid: str | None = None


@dataclass(frozen=True, slots=True)
class Stranger:
    """A user of LiteLLM that is in no catalog, with an e-mail `address` in lower case."""

    user_id: str
    address: str


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive users of LiteLLM, from the index `start`. `total` is the number of all.

    `ids` are those of all rows, `entries` the Backstage users, and the groups and components that this service created;
    `strangers` are the others that have an e-mail address.
    `nameless` is the number of rows without an id, or that LiteLLM fails to show.
    """

    start: int
    ids: Sequence[str]
    entries: Sequence[DirectoryEntry]
    total: int
    nameless: int = 0
    strangers: Sequence[Stranger] = ()

    @property
    def end(self) -> int:
        """The index after the last row."""
        return self.start + len(self.ids) + self.nameless


@dataclass(frozen=True, slots=True)
class Sweep:
    """How far a sweep has come.

    The users before the index `position` were read, the last of them are `tail`. `total` is LiteLLM's number of users
    at the last page. Every user that LiteLLM had at `swept_at` and still has is in the directory: the start of the last
    complete sweep. Times are in seconds since the epoch, None before the first. It met `nameless` rows (see `Window`);
    such a row may be anybody's.
    """

    number: int
    position: int
    tail: Sequence[str]
    total: int | None
    started_at: float | None
    advanced_at: float | None
    swept_at: float | None
    nameless: int


def entry_of(user: User) -> DirectoryEntry:
    """The entry of a user whose row was read."""
    searched = searched_text(user.user_id, user.display_name, user.email)
    address = address_of(user.email or user.taken_email)
    return DirectoryEntry(user.user_id, searched, user.is_over_budget, address, user.entity_uid)


def address_of(email: str | None) -> str | None:
    """An e-mail address as it is compared, without regard to case, as LiteLLM does."""
    return email.lower() if email else None


def searched_text(user_id: str, display_name: str | None, email: str | None) -> str:
    """What a search looks at."""
    return "\n".join(text.lower() for text in (user_id, display_name, email) if text)
