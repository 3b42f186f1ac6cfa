"""`/sessions`: a person's signed-in devices."""

from __future__ import annotations

from dataclasses import dataclass

from domain.actions import Action
from domain.errors import NotFoundError
from domain.identity import Permission, Principal
from domain.sessions import Session
from services.access import authorize
from services.changes.changes import Changes
from services.tokens.session_ends import SessionEnds
from state.sessions import Sessions


@dataclass(frozen=True, kw_only=True)
class SignedInDevices:
    """Lists sessions, and ends them."""

    changes: Changes
    sessions: Sessions
    ends: SessionEnds

    async def of(self, principal: Principal, user_id: str | None) -> list[Session]:
        """The sessions of a person, the caller if that is None; the last used first. Raises NotAllowedError."""
        person = user_id or principal.subject
        authorize(principal, Permission.SESSIONS_READ, person)
        return await self.sessions.of_person(person)

    async def end(self, principal: Principal, user_id: str | None, session_id: str) -> None:
        """Ends a session of a person, and deletes its keys at once, also if only they are left of it.

        Raises NotAllowedError, NotFoundError (also for another's session), RateLimitedError if there were too many of
        those, UpstreamError: then the session has ended, and its keys are deleted as soon as that is possible.
        """
        person = user_id or principal.subject
        async with self.changes.checking(principal, Action.SESSION_END, person):
            session = await self.sessions.find(session_id)
            if session is None or session.principal != person:
                raise NotFoundError(f"{person} has no signed-in device with that id")
        if session.is_ended:
            await self.ends.finish(session)
        else:
            await self.ends.end(principal, session)
