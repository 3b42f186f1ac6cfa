"""What the due queue does for short keys: it deletes those that have ended, and records what was refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from domain.actions import Action, Ending, Intent, Outcome
from domain.due import Task
from domain.workloads import Rule
from services.changes.changes import Changes
from services.keys.issuer import KeyIssuer
from state.refused_exchanges import RefusedExchanges
from state.short_keys import ShortKeys


@dataclass(frozen=True, kw_only=True)
class EndShortKeys:
    """Deletes short keys at their end: LiteLLM refuses them then, and keeps their rows.

    That takes nothing away from anybody, so it is no change of its own: the audit log says when the key was made, and
    for how long.
    """

    changes: Changes
    issuer: KeyIssuer
    short_keys: ShortKeys

    async def __call__(self, task: Task) -> None:
        """Deletes the key of a task of the due queue. Raises UpstreamError."""
        await self.issuer.delete(task.subject)
        async with self.changes.table.transaction() as connection:
            await self.short_keys.remove(connection, task.subject)


@dataclass(frozen=True, kw_only=True)
class RecordRefusals:
    """Writes one event for all verified tokens that a rule refused within a minute."""

    changes: Changes
    refused: RefusedExchanges
    rules: Mapping[str, Rule]

    async def __call__(self, task: Task) -> None:
        """Writes that of a task of the due queue."""
        source = task.subject.rpartition(" ")[0]
        reasons = await self.refused.reasons(task)
        rule = self.rules.get(source.partition(":")[2])
        intent = Intent(
            operation=self.changes.context.new_id(),
            actor=source,
            action=Action.KEY_MINT,
            target=None if rule is None else rule.owner,
        )
        total = sum(reasons.values())
        told = "; ".join(f"{reason} ({times})" for reason, times in reasons.items())
        ending = Ending(Outcome.DENIED, detail=f"{total} verified tokens were refused within a minute: {told}")
        async with self.changes.table.transaction() as connection:
            if reasons:
                await self.changes.table.insert_ended(connection, intent, ending.masked(self.changes.redaction))
            await self.refused.remove(connection, task)
