"""The end of a session: it gives nothing any more, and its keys are taken away.

That it has ended is written together with the intent, and with a task of the due queue. A refresh that runs meanwhile
finds it in its second transaction, and deletes its key; what was given before is found here afterwards. So no key
escapes, and what is interrupted is done by the due queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.actions import Action
from domain.due import Kind, Task
from domain.errors import OrchestratorError
from domain.identity import Principal, Role
from domain.sessions import Session, source_of_session
from services.changes.changes import Changes
from services.keys.issuer import KeyIssuer
from services.keys.report import LeakedKeys
from state.device_codes import DeviceCodes
from state.due import DueQueue
from state.sessions import Sessions
from state.short_keys import ShortKeys

log = structlog.get_logger(__name__)

_GUARD = Principal("sessions", frozenset({Role.SYSTEM}))
"""The actor that ends stolen sessions."""
_STOLEN = "a refresh token was used again"


@dataclass(frozen=True, kw_only=True)
class SessionEnds:
    """Ends sessions."""

    changes: Changes
    codes: DeviceCodes
    sessions: Sessions
    short_keys: ShortKeys
    due: DueQueue
    issuer: KeyIssuer
    leaked: LeakedKeys

    async def end(self, principal: Principal, session: Session) -> None:
        """Ends it and deletes its keys. Raises NotAllowedError, UpstreamError: then the due queue deletes them."""
        await self._end(principal, session, is_theft=False)

    async def stolen(self, session: Session) -> None:
        """Ends it and blocks its keys, as leaked ones. Raises UpstreamError: then the due queue blocks them."""
        self.changes.metrics.stolen_sessions.inc()
        await self._end(_GUARD, session, is_theft=True)

    async def finish(self, session: Session) -> None:
        """Takes the keys of one that has ended before: what was asked then may have failed. Raises UpstreamError."""
        for task in await self.due.of_subjects(Kind.SESSION_END, session.id):
            await self.finish_due(task)

    async def mark_of_leaver(self, connection: AsyncConnection, owner: str) -> None:
        """Ends the sessions that somebody who is off-boarded signed in, or that get keys of theirs.

        Codes first: a sign-in that has used one is waited for, and its session found; a later one finds it refused.
        """
        await self.codes.refuse_all(connection, owner)
        await self.sessions.end_all(connection, owner)

    async def of_leaver(self, owner: str) -> None:
        """Takes the keys of the ended sessions of somebody who is off-boarded. The due queue does what fails."""
        for task in await self.due.of_subjects(Kind.SESSION_END, *await self.sessions.ended(owner)):
            try:
                await self.finish_due(task)
            except OrchestratorError as error:
                log.warning("keys of a session are not taken away yet", session=task.subject, error=error.message)

    async def finish_due(self, task: Task) -> None:
        """Takes the keys of the session of a task of the due queue. Raises UpstreamError."""
        session_id, is_theft = task.subject, bool((task.payload or {}).get("theft"))
        keys = await self._take(session_id, is_theft=is_theft)
        async with self.changes.table.transaction() as connection:
            await self._remove(connection, session_id, keys, is_theft=is_theft)

    async def _end(self, principal: Principal, session: Session, *, is_theft: bool) -> None:
        device = session.device
        asked = {"session": session.id, "owner": session.owner, "device": device.name, "tool": device.tool}
        async with self.changes.begin(
            principal,
            Action.SESSION_END,
            session.principal,
            requested=asked | ({"reason": _STOLEN} if is_theft else {}),
            also=partial(self.sessions.end, session_id=session.id, is_theft=is_theft),
            in_turn=False,
        ) as change:
            keys = await self._take(session.id, is_theft=is_theft)
            async with change.transaction() as connection:
                await self._remove(connection, session.id, keys, is_theft=is_theft)
                await change.done(after={"blocked" if is_theft else "deleted": keys}, connection=connection)

    async def _take(self, session_id: str, *, is_theft: bool) -> list[str]:
        """Takes its keys away in LiteLLM. Returns their ids."""
        keys = await self.short_keys.of_source(source_of_session(session_id))
        for key_id in keys:
            if is_theft:
                # Marked first: neither its owner nor the cleanup unblocks it.
                await self.leaked.reported.keep(key_id)
                await self.leaked.block(key_id)
            else:
                await self.issuer.delete(key_id)
        return keys

    async def _remove(self, connection: AsyncConnection, session_id: str, keys: list[str], *, is_theft: bool) -> None:
        """Forgets the session, and the keys that are gone. Blocked ones are deleted at their end."""
        for key_id in keys if not is_theft else ():
            await self.short_keys.remove(connection, key_id)
        await self.sessions.remove(connection, session_id)
