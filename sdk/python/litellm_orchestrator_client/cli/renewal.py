"""The key of a session: as it is while it is good, else renewed by one process for all of this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from .clock import Clock, Moment
from .errors import CommandError, RefusedError, SignInFirstError, UnreachableError
from .session import Session, Tokens
from .store import LONGEST_RENEWAL, BusyError, CannotLockError, Status, Store

if TYPE_CHECKING:
    import httpx

    from .wire import Wire

# Seconds in which one process relies on what another has just found out.
_NEWS = 5.0
# Seconds for which a process that has a key that works waits for another one that renews it.
_SHORT = 3.0
# LiteLLM is not asked about a key that is this new: if it does not take it, another new one would not help.
_NEW = 60.0


@dataclass(frozen=True, slots=True)
class Renewal:
    """Gives the key of a session. Never asks a person for anything."""

    store: Store
    clock: Clock
    wire: Callable[[str], Wire]
    transport: httpx.BaseTransport | None

    def tokens(self, session: Session, *, for_long: bool = False) -> Tokens:
        """A key that works, renewed where it is due or where LiteLLM does not take it any more.

        Raises SignInFirstError, RefusedError, UnreachableError, CommandError. While the key is good, an outage of the
        service is a warning.
        """
        tokens = self.store.tokens(session)
        if not tokens.is_due(self.clock, for_long=for_long) and self._is_news(self.store.status(session).worked):
            return tokens
        try:
            # A tool that can have a good key now should not wait for a better one.
            with self.store.locked(session, _SHORT if tokens.remaining(self.clock) > 0 else LONGEST_RENEWAL):
                return self._looked_at(session, for_long=for_long)
        except BusyError as error:
            return self._while_good(tokens, UnreachableError(error.message))
        except CannotLockError as error:
            return self._while_good(tokens, error)

    def _looked_at(self, session: Session, *, for_long: bool) -> Tokens:
        """With the lock: what another process did meanwhile counts."""
        tokens, status = self.store.tokens(session), self.store.status(session)
        if not tokens.is_due(self.clock, for_long=for_long):
            if self._is_news(status.worked):
                return tokens
            age = tokens.received.age(self.clock)
            if (age is not None and age < _NEW) or self._still_works(tokens):
                self.store.note(session, replace(status, worked=Moment.now(self.clock)))
                return tokens
            tokens = replace(tokens, key_life=0.0)  # LiteLLM knows better
        if self._is_news(status.failed):
            return self._while_good(tokens, UnreachableError(status.why))
        return self._renewed(session, tokens)

    def _still_works(self, tokens: Tokens) -> bool:
        from .wire import still_works

        return still_works(tokens.key, tokens.litellm_url, transport=self.transport)

    def _renewed(self, session: Session, tokens: Tokens) -> Tokens:
        try:
            # What cannot be kept must not be asked for: the session would end when its old token is used again.
            self.store.prepare()
        except CommandError as error:
            return self._while_good(tokens, error)
        try:
            new = self.wire(session.service).refresh(tokens.refresh_token).tokens
        except UnreachableError as error:
            self.store.note(session, Status(failed=Moment.now(self.clock), why=error.message))
            return self._while_good(tokens, error)
        except CommandError as error:
            if isinstance(error, RefusedError) and error.error == "invalid_grant":
                return self._ended(session, tokens)
            return self._while_good(tokens, error)
        try:
            self.store.update(session, new)
        except CommandError as error:
            click.echo(f"litellm-key: {error.message}. This key works; sign in again before the next one.", err=True)
        self.store.note(session, Status(worked=new.received))
        return new

    def _ended(self, session: Session, tokens: Tokens) -> Tokens:
        """The service knows the token no more: unless another process has a newer one, nothing can be renewed."""
        newer = self.store.tokens(session)
        if newer.refresh_token != tokens.refresh_token:
            return newer
        why = f"The session at {session.service} has ended. Sign in again: litellm-key login {session.service}"
        self.store.end(session, why)
        raise SignInFirstError(why)

    def _while_good(self, tokens: Tokens, error: CommandError) -> Tokens:
        """The key that is there, with a warning, for as long as it works. Raises the error after that."""
        if tokens.remaining(self.clock) <= 0:
            raise error
        more = in_words(tokens.remaining(self.clock))
        click.echo(f"litellm-key: {error.message.rstrip('.')}. The key works for {more} more.", err=True)
        return tokens

    def _is_news(self, moment: Moment | None) -> bool:
        age = moment.age(self.clock) if moment else None
        return age is not None and age < _NEWS


def in_words(seconds: float) -> str:
    """As a person says it."""
    return f"{seconds / 3600:.0f} h" if seconds >= 5400 else f"{max(1, seconds // 60):.0f} min"
