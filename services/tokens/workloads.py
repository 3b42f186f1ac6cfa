"""What an admin sees of workloads: issuers, rules, and what a token would get."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from clients.oidc.issuers import Issuers
from domain.errors import InputError, UnverifiedTokenError, UpstreamError
from domain.identity import Permission, Principal
from domain.workloads import KeysHealth, Rule, RuleVerdict, TokenVerdict, VerifiedToken, mismatch, source_of
from services.access import authorize
from settings.model import WorkloadSettings
from state.events import Events
from state.short_keys import ShortKeys


@dataclass(frozen=True, slots=True)
class IssuerState:
    """An issuer, and whether its keys can be had. Times are in seconds since the epoch."""

    name: str
    url: str
    audience: str
    health: KeysHealth


@dataclass(frozen=True, slots=True)
class RuleState:
    """A rule, and its keys. `last_used_at` is in seconds since the epoch, None if the audit log knows of none."""

    rule: Rule
    living_keys: int
    last_used_at: float | None


@dataclass(frozen=True, kw_only=True)
class Workloads:
    """Reads, and changes nothing."""

    settings: WorkloadSettings
    issuers: Issuers
    short_keys: ShortKeys
    events: Events

    async def all(self, principal: Principal) -> tuple[list[IssuerState], list[RuleState]]:
        """The issuers and the rules, in the order of the settings. Raises NotAllowedError, UpstreamError."""
        authorize(principal, Permission.WORKLOADS_READ)
        await asyncio.gather(*(self._read_keys(row.name) for row in self.settings.issuers))
        living = await self.short_keys.counts()
        mints = await self.events.last_mints([source_of(rule) for rule in self.settings.rules])
        used = {source: event.started_at for source, event in mints.items()}
        issuers = [
            IssuerState(row.name, row.url, row.audience, self.issuers.health(row.name)) for row in self.settings.issuers
        ]
        rules = [
            RuleState(rule, living.get(source_of(rule), 0), used.get(source_of(rule))) for rule in self.settings.rules
        ]
        return issuers, rules

    async def test(self, principal: Principal, token: str | None, claims: Mapping[str, Any] | None) -> TokenVerdict:
        """What each rule says of a token, or of claims as if they were verified.

        Raises NotAllowedError, InputError (neither), UpstreamError if the keys of the issuer cannot be had.
        """
        authorize(principal, Permission.WORKLOADS_READ)
        if token is not None:
            return await self._of_token(token)
        if claims is None:
            raise InputError("Send either token or claims")
        named = [row.name for row in self.settings.issuers if row.url == claims.get("iss")]
        subject = claims.get("sub")
        shown = VerifiedToken("", subject if isinstance(subject, str) else "", claims, "", 0, 0)
        rules = self._rules({name: replace(shown, issuer=name) for name in named}, shown)
        if not named:
            return TokenVerdict(None, None, "iss is no issuer of the settings", rules)
        return TokenVerdict(None, named[0], None, rules)

    async def _read_keys(self, issuer: str) -> None:
        """Has them read if they never were here. What goes wrong is in their health."""
        if self.issuers.health(issuer).count == 0:
            with suppress(UpstreamError):
                await self.issuers.algorithms(issuer)

    async def _of_token(self, token: str) -> TokenVerdict:
        # Several may have one url, each with an audience of its own.
        tried = {named: await self._tried(named, token) for named in self.issuers.named_by(token)}
        for named, result in tried.items():
            if isinstance(result, VerifiedToken):
                return TokenVerdict(True, named, None, self._rules(tried, result))
        first = next(iter(tried), None)
        problem = "its iss is no issuer of the settings" if first is None else str(tried[first])
        return TokenVerdict(False, first, problem, ())

    async def _tried(self, issuer: str, token: str) -> VerifiedToken | str:
        """The token as the issuer verified it, or why it did not."""
        try:
            return await self.issuers.verify(issuer, token)
        except UnverifiedTokenError as error:
            return error.reason

    def _rules(self, by_issuer: Mapping[str, VerifiedToken | str], otherwise: VerifiedToken) -> list[RuleVerdict]:
        """What each rule says of the token as its issuer sees it: verified, or why it is not."""
        return [_verdict(rule, by_issuer.get(rule.issuer, otherwise)) for rule in self.settings.rules]


def _verdict(rule: Rule, token: VerifiedToken | str) -> RuleVerdict:
    if isinstance(token, str):
        return RuleVerdict(rule.name, matched=False, problem=token)
    problem = mismatch(rule, token)
    return RuleVerdict(rule.name, matched=problem is None, problem=None if problem is None else problem.reason)
