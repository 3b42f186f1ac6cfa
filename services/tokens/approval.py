"""Looking at, approving and refusing a device that asks: what its person does on the console.

A user code has 34 bits, so that guesses are counted: five wrong ones lock a person out for ten minutes, and so many of
all people lock everybody out for moments. Codes do not end by that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_address

from domain.actions import Action
from domain.errors import ConflictError, InputError, NotFoundError, RateLimitedError
from domain.identity import Permission, Principal
from domain.rates import RateLimit
from domain.sessions import CodeDecision, CodeState, DeviceCode, Origin, network_of
from services.access import authorize
from services.changes.changes import Changes
from services.owners.owners import Owners
from services.tokens.codes import hash_of_user_code
from services.users.users import Users
from settings.model import CommandLineSettings
from state.code_guesses import CodeGuesses
from state.database import Database
from state.device_codes import DeviceCodes
from state.rates import RatePolicy, Rates
from state.root import Root

_GUESSES_IN_ALL = RatePolicy("guesses", 100)
_ALL = "of all people"


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A device that asks, as `viewer` from `origin` sees it. Lives are in seconds."""

    code: DeviceCode
    viewer: str
    origin: Origin
    key_life: int
    longest_life: int

    @property
    def is_same_network(self) -> bool:
        """Whether both are in one network, as far as that is known."""
        address = self.code.device.address
        return address is not None and network_of(ip_address(address)) == self.origin.network


@dataclass(frozen=True, kw_only=True)
class DeviceApproval:
    """What people do with user codes. `owners`: as in `Owners.acting`."""

    settings: CommandLineSettings
    changes: Changes
    users: Users
    owners: Owners
    database: Database
    codes: DeviceCodes
    guesses: CodeGuesses
    rates: Rates
    root: Root
    rate: RatePolicy
    new_id: Callable[[], str]

    async def look(self, principal: Principal, user_code: str, origin: Origin) -> LookedAt:
        """What asks. Raises NotAllowedError, NotFoundError, RateLimitedError, UpstreamError."""
        authorize(principal, Permission.SESSIONS_CREATE, principal.subject)
        code = await self._find(principal, user_code)
        return LookedAt(code, principal.subject, origin, self.settings.key_life, self.settings.session_life)

    async def approve(
        self, principal: Principal, user_code: str, origin: Origin, *, owner: str, life: int | None
    ) -> LookedAt:
        """Has the device get keys of `owner`, in a session of `life` seconds, which is the longest if that is None.

        Raises NotAllowedError, InputError, NotFoundError, ConflictError (it was decided), RateLimitedError,
        UpstreamError.
        """
        async with self.changes.checking(principal, Action.SESSION_APPROVE, principal.subject):
            looked = await self.look(principal, user_code, origin)
            if life is not None and life > looked.longest_life:
                raise InputError(f"life must be at most {looked.longest_life} seconds")
        principal = await self.owners.acting(principal, owner)
        # Of whom LiteLLM has a user, the off-boarding takes care, whoever's keys the device gets.
        await self.users.ensure_own(principal, principal.subject)
        life = life or looked.longest_life
        decision = CodeDecision(CodeState.APPROVED, principal.subject, owner, life, f"ses_{self.new_id()}")
        return await self._decide(principal, Action.SESSION_APPROVE, looked, decision)

    async def refuse(self, principal: Principal, user_code: str, origin: Origin) -> LookedAt:
        """Has the device get nothing. Raises as `approve` does."""
        async with self.changes.checking(principal, Action.SESSION_REFUSE, principal.subject):
            looked = await self.look(principal, user_code, origin)
        decision = CodeDecision(CodeState.REFUSED, principal.subject)
        return await self._decide(principal, Action.SESSION_REFUSE, looked, decision)

    async def _decide(self, principal: Principal, action: Action, looked: LookedAt, decision: CodeDecision) -> LookedAt:
        device, target = looked.code.device, decision.owner or principal.subject
        asked: dict[str, str | float | None] = {
            "client": device.client_id,
            "device": device.name,
            "tool": device.tool,
            "address": device.address,
        }
        if decision.session_id is not None:
            asked |= {"session": decision.session_id, "life": decision.life}
        async with (
            self.changes.begin(principal, action, target, requested=asked, rate=self.rate, in_turn=False) as change,
            change.transaction() as connection,
        ):
            if not await self.codes.decide(connection, looked.code.device_hash, decision):
                raise ConflictError("This request was decided already, or has expired")
            await change.done(connection=connection)
        return replace(looked, code=replace(looked.code, **asdict(decision)))

    async def _find(self, principal: Principal, user_code: str) -> DeviceCode:
        user_hash = await hash_of_user_code(self.root, user_code)
        found: DeviceCode | None = None
        # What is counted has to be committed, also for an error.
        async with self.database.transaction() as connection:
            limit = await self.guesses.locked(connection, principal.subject)
            if limit is None:
                found = await self.codes.of_user(connection, user_hash)
                if found is None:
                    await self.guesses.add(connection, principal.subject)
                    taken = await self.rates.take(connection, _GUESSES_IN_ALL, _ALL)
                    limit = taken if taken.retry_after else None
                else:
                    limit = _exhausted(await self.rates.peek(connection, _GUESSES_IN_ALL, _ALL))
        if limit is not None:
            raise RateLimitedError(limit)
        if found is None:
            raise NotFoundError("There is no such code: compare it with what the device shows")
        if found.is_over:
            raise NotFoundError("This code has expired: begin again on the device")
        return found


def _exhausted(rate: RateLimit) -> RateLimit | None:
    """The limit if nothing is left of it: then a right code gets the same answer as a wrong one."""
    return None if rate.remaining else replace(rate, retry_after=1)
