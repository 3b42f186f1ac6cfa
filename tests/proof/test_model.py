"""The whole service against a small model: people, workloads, their keys and their blocks, with faults and restarts.

The model knows nothing of how the service works: it says what a caller is told, and what LiteLLM has afterwards.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.owners import OwnerEntry
from domain.users import Tier
from domain.workloads import KeyTerms, Match, Rule
from settings.model import CleanupSettings, Issuer, WorkloadSettings
from standalone.backstage import BackstageStandIn
from standalone.catalog import ADMINS, MEMBERS, Component, Org
from standalone.environment import standalone_settings
from standalone.issuer import AUDIENCE, URL, IssuerStandIn
from standalone.litellm import LiteLLMStandIn
from tests.conftest import BASE, BOB, Clock, Service, keys_path, service_on, user_path
from tests.proof.model import COME_AGAIN, PARTS, YEAR, Heard, Key, Model, ShortKey, Token, Wanted, WorkloadToken
from tests.support.keys import chat
from tests.support.requests import exchange
from tests.support.stateful import stateful

PEOPLE = [f"user:default/{name}" for name in ("alice", "dave", "erin")]
WITHOUT_ENT = "user:default/erin"
"""Whose tokens name no groups, as those of the newest Backstage."""
ROLES = {"member": {MEMBERS}, "admin": {ADMINS}, "nobody": set[str]()}
UNTIL_A_ROLE_COUNTS, UNTIL_A_LEASE_ENDS = 61.0, 400.0
MANY = 100_000
_STAFF = 20
"""People who stay, so that one who leaves is no mass departure."""
_A_SECOND, _A_MINUTE = 1.0, 60.0
"""What rotations may cost of the life of a key, which LiteLLM counts in whole seconds."""
TEAM, SHOP = "group:default/team", "component:default/shop"
"""Owners of short keys, of alice's group."""
STAYING = {MEMBERS, "component:default/stays"}
"""Owners that stay, so that one that leaves is no mass departure."""
TIERS_OF_OWNERS = {TEAM: Tier(max_budget=200.0), SHOP: Tier(max_budget=50.0, max_keys=1)}
SUBJECT = "repo:acme/shop:main"
RULES = [
    Rule("shop", "ci", SHOP, Match(sub="repo:acme/shop:*"), KeyTerms(300, max_budget=1.0), 4, 100),
    Rule("shop-nightly", "ci", SHOP, Match(sub=SUBJECT), KeyTerms(900), 100, 4),
    Rule("team", "ci", TEAM, Match(sub=SUBJECT), KeyTerms(900, max_budget=2.0), 100, 4),
]
person, caller = st.sampled_from(PEOPLE), st.sampled_from([*PEOPLE, BOB])
pick = st.integers(0, 9)
workload_rule = st.sampled_from(RULES)
side = st.sampled_from(["owner", "owner", "admin", "other"])
"""Who comes to a key."""
FAULTS = st.sampled_from(["forgets to answer", "refuses", "fails"])
LIMITS: list[dict[str, Any]] = [{}, {}, {"maxBudget": 50}, {"models": ["claude-fake"]}]
WISHES: list[dict[str, Any]] = [*LIMITS, {"expiresIn": 2 * YEAR}]
TIERS = st.builds(
    Tier,
    max_budget=st.sampled_from([100.0, 10.0]),
    models=st.sampled_from([(), ("gpt-fake",)]),
    max_keys=st.sampled_from([None, 1, 2]),
    max_key_life=st.sampled_from([None, YEAR]),
)
"""No key lives so short that it ends here."""


class Wire(httpx.AsyncBaseTransport):
    """The way to LiteLLM or Backstage, which can fail at paths with `at` in them, once `left` more requests passed."""

    def __init__(self, app: Any) -> None:
        self._inner = httpx.ASGITransport(app)
        self.fault: str | None = None
        self.at = ""
        self.left = self.failed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.left -= 1
        fault = self.fault if self.at in request.url.path and self.left < 0 else None
        self.failed += fault is not None
        if fault == "refuses":
            raise httpx.ConnectError("refused", request=request)
        if fault == "hangs":
            raise httpx.ReadTimeout("slow", request=request)
        if fault == "fails":
            return httpx.Response(500, json={}, request=request)
        response = await self._inner.handle_async_request(request)
        if fault == "forgets to answer" and request.method != "GET":
            raise httpx.ReadError("reset", request=request)
        return response


class Whole(RuleBasedStateMachine):
    """Each rule asks the service for something, and compares its answer with the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.runner, self.folder = asyncio.Runner(), tempfile.TemporaryDirectory()
        self.clock, self.numbers, self.names = Clock(), count(1), count(1)
        secrets = count(1)
        self.litellm = LiteLLMStandIn(now=self.clock, new_id=lambda: f"secret{next(secrets):016}")
        staff = {f"user:default/staff-{number}": {MEMBERS} for number in range(_STAFF)}
        self.org = Org(
            users={BOB: {ADMINS}, **staff, **{ref: {MEMBERS} for ref in PEOPLE}},
            groups={ADMINS: None, MEMBERS: None, TEAM: MEMBERS},
            components={ref: Component(MEMBERS) for ref in (SHOP, "component:default/stays")},
        )
        self.issuer = IssuerStandIn(self.clock)
        self.backstage = BackstageStandIn(now=self.clock, org=self.org)
        self.to_litellm, self.to_backstage = Wire(self.litellm.app), Wire(self.backstage.app)
        usual = standalone_settings(self.folder.name).litellm
        self.model = Model({BOB: "admin", **dict.fromkeys([*PEOPLE, SHOP, TEAM], "member")}, usual.user_defaults)
        self.tokens: dict[str, Token] = {}
        self.shown: dict[int, WorkloadToken] = {}
        self.secrets: dict[str, str] = {}
        self.start()
        for ref in sorted(STAYING):
            self.ask_admin(201, "POST", f"{BASE}/users", json={"userId": ref})

    def start(self) -> None:
        self.model.heard = Heard()
        self.service: Service = service_on(
            Path(self.folder.name),
            self.clock,
            self.litellm,
            self.backstage,
            numbers=self.numbers,
            ports={"litellm": self.to_litellm, "backstage": self.to_backstage},
            issuer=self.issuer,
            owners=(
                OwnerEntry("component", ("spec.type=service",), None, TIERS_OF_OWNERS[SHOP]),
                OwnerEntry("group", ("spec.type=team",), None, TIERS_OF_OWNERS[TEAM]),
            ),
            workloads=WorkloadSettings((Issuer("ci", URL, AUDIENCE),), tuple(RULES)),
            litellm=replace(standalone_settings(self.folder.name).litellm, user_defaults=self.model.tier),
            cleanup=CleanupSettings(grace_period=0, max_deletions=MANY, max_removals=MANY),
            creates_per_minute=MANY,
            changes_per_minute=MANY,
            refusals_per_minute=MANY,
        )

    def send(self, who: str, method: str, path: str, **options: Any) -> httpx.Response:
        """While Backstage is away, people keep the token that they have."""
        if self.model.away is None or who not in self.tokens:
            claims = {"ent": None} if who == WITHOUT_ENT else {}
            text = self.backstage.user_token(who, **claims)
            self.tokens[who] = Token(text, self.clock(), has_ent=who != WITHOUT_ENT)
        return self.runner.run(self.service.client(self.tokens[who].text).request(method, path, **options))

    def ask(self, who: str, wanted: Wanted, method: str, path: str, **options: Any) -> httpx.Response:
        """An answer that is as the model says."""
        response = self.send(who, method, path, **options)
        expected = self.model.expected(who, self.tokens[who], wanted, self.clock())
        self.model.asked(who, self.tokens[who], self.clock())
        assert response.status_code in expected, (expected, response.status_code, response.text)
        assert response.status_code != 503 or "Retry-After" in response.headers
        return response

    def ask_admin(self, status: int, method: str, path: str, **options: Any) -> httpx.Response:
        return self.ask(BOB, lambda _: status, method, path, **options)

    def run_jobs(self) -> None:
        self.runner.run(self.service.run_background_jobs())
        self.model.end_short_keys(self.clock())

    def chosen(self, side: str, number: int) -> tuple[str, Key, str]:
        """The id of one of the keys of people, the key, and who comes to it."""
        keys = self.model.lasting_keys()
        key_id, key = sorted(keys.items())[number % len(keys)]
        [other, *_] = [ref for ref in PEOPLE if ref != key.owner]
        return key_id, key, {"owner": key.owner, "admin": BOB, "other": other}[side]

    # What people do.

    @rule(
        who=caller,
        owner=person,
        alias=st.sampled_from([None, "laptop", "ci"]),
        wish=st.sampled_from(WISHES),
        twice=st.booleans(),
    )
    def create_a_key(self, who: str, owner: str, alias: str | None, wish: dict[str, Any], *, twice: bool) -> None:
        """Sent again, it has the same answer."""
        own, aliases = who == owner, {key.alias for key in self.model.keys_of(owner).values()}

        def wanted(role: str) -> int:
            if (access := self.model.access(role, who, owner)) != 200:
                return access
            if own and self.model.exceeds(wish):
                return 403
            return 409 if (alias and alias in aliases) or not self.model.has_room(owner) else 201

        body = wish | ({} if alias is None else {"alias": alias})
        named = {"Idempotency-Key": f"request-{next(self.names)}"}
        response = self.ask(who, wanted, "POST", keys_path(owner), json=body, headers=named)
        self.own_first_request(who, owner, response)
        if response.status_code != 201:
            return
        key = Key(owner, alias, expires_at=self.model.expiry(wish, own=own, now=self.clock()))
        key.set(wish)
        self.model.keys[response.json()["keyId"]] = key
        if twice:
            again = self.ask(who, lambda _: 201, "POST", keys_path(owner), json=body, headers=named)
            assert again.status_code != 201 or again.json() == response.json()

    @precondition(lambda self: self.model.lasting_keys())
    @rule(side=side, number=pick, wish=st.sampled_from(WISHES))
    def rotate_a_key(self, side: str, number: int, wish: dict[str, Any]) -> None:
        key_id, key, who = self.chosen(side, number)
        if key.blocker is not None:
            return
        wanted = self.wanted_of_key(who, key, 201, wish)
        response = self.ask(who, wanted, "POST", f"{keys_path(key.owner, key_id)}/regenerate", json=wish)
        if response.status_code == 201:
            own, new_id = who == key.owner, response.json()["keyId"]
            self.model.rotate(key_id, new_id, wish, own=own, now=self.clock())

    @precondition(lambda self: self.model.lasting_keys())
    @rule(side=side, number=pick, wish=st.sampled_from(LIMITS[2:]))
    def change_a_key(self, side: str, number: int, wish: dict[str, Any]) -> None:
        key_id, key, who = self.chosen(side, number)
        response = self.ask(
            who, self.wanted_of_key(who, key, 200, wish), "PATCH", keys_path(key.owner, key_id), json=wish
        )
        if response.status_code == 200:
            key.set(wish)

    @precondition(lambda self: self.model.lasting_keys())
    @rule(side=side, number=pick)
    def delete_a_key(self, side: str, number: int) -> None:
        key_id, key, who = self.chosen(side, number)
        wanted = self.wanted_of_key(who, key, 204, {})
        if self.ask(who, wanted, "DELETE", keys_path(key.owner, key_id)).status_code == 204:
            del self.model.keys[key_id]

    def wanted_of_key(self, who: str, key: Key, status: int, wish: dict[str, Any]) -> Wanted:
        """The status of what works, and 403 without authority, or beyond the tier for oneself."""

        def wanted(role: str) -> int:
            access = self.model.access(role, who, key.owner)
            return 403 if who == key.owner and self.model.exceeds(wish) else status if access == 200 else access

        return wanted

    @precondition(lambda self: self.model.lasting_keys())
    @rule(side=side, number=pick, blocked=st.booleans())
    def block_or_unblock_a_key(self, side: str, number: int, *, blocked: bool) -> None:
        """Only an admin lifts what the owner has not done."""
        self.set_blocked(side, number, blocked=blocked)

    @precondition(lambda self: self.model.lasting_keys())
    @rule(one=side, other=side, number=pick)
    def block_and_unblock_a_key(self, one: str, other: str, number: int) -> None:
        self.set_blocked(one, number, blocked=True)
        self.set_blocked(other, number, blocked=False)

    def set_blocked(self, side: str, number: int, *, blocked: bool) -> None:
        key_id, key, who = self.chosen(side, number)
        if key.blocker == "off-boarding":
            return

        def wanted(role: str) -> int:
            is_theirs = blocked or role == "admin" or key.blocker != "admin"
            return self.model.access(role, who, key.owner) if is_theirs else 403

        response = self.ask(who, wanted, "PATCH", keys_path(key.owner, key_id), json={"blocked": blocked})
        if response.status_code == 200:
            self.model.block(key, who, blocked=blocked)

    @rule(who=caller, owner=person)
    def read_a_user(self, who: str, owner: str) -> None:
        """Their own first request creates them."""
        response = self.ask(who, lambda role: self.model.access(role, who, owner), "GET", user_path(owner))
        self.own_first_request(who, owner, response)

    @rule(who=caller, owner=person)
    def read_the_keys(self, who: str, owner: str) -> None:
        """As the model has them."""
        response = self.ask(who, lambda role: self.model.access(role, who, owner), "GET", keys_path(owner))
        self.own_first_request(who, owner, response)
        if response.status_code == 200:
            found = {row["token"]: (row["key_alias"], row["blocked"] is True) for row in response.json()["keys"]}
            theirs = self.model.keys_of(owner).items()
            assert found == {key_id: (key.alias, key.blocker is not None) for key_id, key in theirs}

    @rule(who=caller, owner=person)
    def off_board_a_user(self, who: str, owner: str) -> None:
        """At once, with all keys."""

        def wanted(role: str) -> int:
            return 403 if role != "admin" else 200 if owner in self.model.users else 404

        if self.ask(who, wanted, "DELETE", user_path(owner)).status_code == 200:
            self.model.forget(owner, self.clock())

    def own_first_request(self, who: str, owner: str, response: httpx.Response) -> None:
        """It creates them, whatever becomes of the rest, unless they may do nothing here."""
        if who == owner and (response.is_success or owner in self.litellm.rows.users):
            self.model.add_user(owner)

    # What workloads do.

    @rule(
        asked=workload_rule,
        number=st.integers(0, 2),
        life=st.sampled_from([None, None, 3600, 100, 0.5]),
        is_meant=st.sampled_from([True, True, True, True, False]),
        pauses=st.lists(st.sampled_from([20.0, 61.0, 0.0, 59.5]), min_size=3, max_size=6),
    )
    def exchange_a_token(
        self, asked: Rule, number: int, life: float | None, pauses: list[float], *, is_meant: bool
    ) -> None:
        """A new one, or one that was shown before, again and again."""
        token = self.shown.get(number)
        if token is None or life is not None:
            token = self.new_token(life or 3600, is_meant=is_meant)
            self.shown[number] = token
        for pause in pauses:
            self.clock.advance(pause)
            self.exchange(asked, token)
        self.call_models()

    @rule(asked=workload_rule, tokens=st.integers(2, 5))
    def exchange_many_tokens(self, asked: Rule, tokens: int) -> None:
        """A pipeline that runs away."""
        for _ in range(tokens):
            self.exchange(asked, self.new_token(3600))

    @precondition(lambda self: self.model.away is None)
    @rule(asked=workload_rule, callers=st.integers(2, 4))
    def exchange_a_token_at_once(self, asked: Rule, callers: int) -> None:
        """All get the same answer."""
        token, now, client = self.new_token(3600), self.clock(), self.service.client()
        wanted = self.model.answer(asked, token, now)

        async def all_of_them() -> list[httpx.Response]:
            each = (exchange(client, token.text, client_id=asked.name) for _ in range(callers))
            return await asyncio.gather(*each)

        responses = self.runner.run(all_of_them())
        assert {response.status_code for response in responses} == {wanted}
        if wanted == 200:
            assert len({response.json()["access_token"] for response in responses}) == 1
            self.give(asked, token, responses[0])

    def new_token(self, life: float, *, is_meant: bool = True) -> WorkloadToken:
        expires_at, number = self.clock() + life, next(self.names)
        subject = SUBJECT if is_meant else "repo:mallory/shop:main"
        text = self.issuer.token(jti=f"token-{number}", sub=subject, iat=self.clock(), exp=expires_at)
        return WorkloadToken(text, expires_at, is_meant)

    def exchange(self, asked: Rule, token: WorkloadToken) -> httpx.Response:
        """An answer that is as the model says; while the catalog is away, the service may also say to come again."""
        again, before = self.model.given_again(asked, token, self.clock()), self.model.budgets.copy()
        wanted = self.model.answer(asked, token, self.clock())
        response = self.runner.run(exchange(self.service.client(), token.text, client_id=asked.name))
        if self.model.is_away("catalog") and response.status_code in COME_AGAIN:
            self.model.budgets = before
        else:
            assert response.status_code == wanted, (wanted, response.status_code, response.text)
        if response.status_code == 200:
            self.give(asked, token, response, again)
        elif response.status_code == 400:
            assert response.json()["error"] == "invalid_grant"
        elif response.status_code in (429, 503):
            assert "Retry-After" in response.headers
        self.owner_is_made(asked.owner)
        return response

    def give(self, asked: Rule, token: WorkloadToken, response: httpx.Response, again: str | None = None) -> None:
        """The key of an answer, which may be there already, and lives as long as the answer says."""
        secret, now = response.json()["access_token"], self.clock()
        key_id = sha256(secret.encode()).hexdigest()
        if again is None:
            assert key_id not in self.model.keys
            self.model.give(key_id, asked, token, now)
        else:
            assert key_id == again
        self.secrets[key_id] = secret
        key = self.model.short_keys()[key_id]
        assert response.json()["expires_in"] == int(key.ends_at - now)
        assert now + response.json()["expires_in"] <= token.expires_at
        self.owner_is_made(asked.owner)

    def owner_is_made(self, owner: str) -> None:
        """By the first exchange, whatever becomes of it."""
        if owner in self.litellm.rows.users:
            self.model.add_user(owner, TIERS_OF_OWNERS[owner])

    @precondition(lambda self: self.model.short_keys())
    @rule(number=pick, blocked=st.sampled_from([True, False, None]))
    def touch_a_short_key(self, number: int, *, blocked: bool | None) -> None:
        """An admin blocks, unblocks or deletes one, and changes it in no other way."""
        key_id, key = self.chosen_short_key(number)
        path = keys_path(key.owner, key_id)
        self.ask_admin(409, "PATCH", path, json={"alias": "mine"})
        self.ask_admin(409, "POST", f"{path}/regenerate", json={})
        if blocked is None:
            if self.ask_admin(204, "DELETE", path).status_code == 204:
                del self.model.keys[key_id]
        elif key.blocker != "off-boarding":
            response = self.ask_admin(200, "PATCH", path, json={"blocked": blocked})
            if response.status_code == 200:
                self.model.block(key, BOB, blocked=blocked)

    def chosen_short_key(self, number: int) -> tuple[str, ShortKey]:
        keys = self.model.short_keys()
        return sorted(keys.items())[number % len(keys)]

    @rule()
    def call_models(self) -> None:
        """With every short key that ever was: those work that live and are not blocked."""
        for key_id, secret in self.secrets.items():
            key = self.model.short_keys().get(key_id)
            works = key is not None and self.clock() < key.ends_at and key.blocker is None
            assert self.runner.run(chat(self.litellm, secret)) == (200 if works else 401), key

    @rule()
    def read_the_workloads(self) -> None:
        """How many keys of each rule live."""
        response = self.ask_admin(200, "GET", f"{BASE}/workloads")
        if response.status_code == 200:
            found = {row["name"]: row["livingKeys"] for row in response.json()["rules"]}
            assert found == {each.name: self.model.living(each, self.clock()) for each in RULES}

    @precondition(lambda self: self.model.away is None)
    @rule(asked=workload_rule, fault=FAULTS)
    def an_exchange_meets_a_fault(self, asked: Rule, fault: str) -> None:
        """Nobody has its key, so there is none, at the latest once the same token is shown again."""
        if self.model.living(asked, self.clock()) + 2 > asked.max_living:
            return
        self.clock.advance(_A_MINUTE)
        token = self.new_token(3600)
        wanted = self.model.answer(asked, token, self.clock())
        self.to_litellm.fault = fault
        response = self.runner.run(exchange(self.service.client(), token.text, client_id=asked.name))
        self.to_litellm.fault = None
        assert response.status_code in (COME_AGAIN if wanted == 200 else COME_AGAIN | {wanted}), response.text
        self.owner_is_made(asked.owner)
        self.exchange(asked, token)
        # Until it is reconciled, what was interrupted counts as a key that is being made.
        self.time_passes(UNTIL_A_LEASE_ENDS)

    # What happens around them.

    @initialize(asked=st.none() | workload_rule, runs=st.integers(0, 2), is_back=st.booleans())
    def an_owner_leaves_at_first(self, asked: Rule | None, runs: int, *, is_back: bool) -> None:
        """Among so many rules it is a matter of luck whether thirty examples have this one."""
        if asked is not None:
            self.an_owner_leaves(asked, runs, is_back=is_back)

    @precondition(lambda self: self.model.away is None)
    @rule(asked=workload_rule, runs=st.integers(0, 2), is_back=st.booleans())
    def an_owner_leaves(self, asked: Rule, runs: int, *, is_back: bool) -> None:
        """The catalog has it no more, and perhaps again, and the cleanup runs meanwhile. A token is shown all along."""
        token = self.new_token(3600)
        self.exchange(asked, token)
        self.set_in_catalog(asked.owner, is_there=False)
        self.exchange(asked, token)
        for _ in range(runs):
            self.clean_up(None)
            self.exchange(asked, token)
        if is_back:
            self.set_in_catalog(asked.owner, is_there=True)
            self.exchange(asked, token)
            self.clean_up(None)
            self.exchange(asked, self.new_token(3600))

    @precondition(lambda self: self.model.away is None)
    @rule(owner=st.sampled_from([SHOP, TEAM]))
    def an_owner_returns(self, owner: str) -> None:
        """It has keys again after a run."""
        self.set_in_catalog(owner, is_there=True)

    def set_in_catalog(self, owner: str, *, is_there: bool) -> None:
        """It counts a minute later."""
        self.model.roles[owner] = "member" if is_there else "nobody"
        if owner == SHOP:
            self.org.components |= {SHOP: Component(MEMBERS, type="service" if is_there else "library")}
        elif is_there:
            self.org.groups[TEAM] = MEMBERS
        else:
            self.org.groups.pop(TEAM, None)
        self.clock.advance(UNTIL_A_ROLE_COUNTS)

    @precondition(lambda self: self.model.away is None)
    @rule(asked=workload_rule, seconds=st.sampled_from([1.0, 11.0]))
    def an_admin_deletes_an_owner(self, asked: Rule, seconds: float) -> None:
        """Somebody with a key of its comes again; for ten seconds there is no new one."""
        token = self.new_token(3600)
        self.exchange(asked, token)
        self.off_board_a_user(BOB, asked.owner)
        self.clock.advance(seconds)
        self.exchange(asked, token)
        self.call_models()

    @rule(who=person, role=st.sampled_from(list(ROLES)))
    def change_a_role(self, who: str, role: str) -> None:
        """It counts a minute later."""
        self.org.users[who] = set(ROLES[role])
        self.model.roles[who] = role
        self.clock.advance(UNTIL_A_ROLE_COUNTS)

    @rule(dies_after=st.none() | st.integers(0, 6))
    def clean_up(self, dies_after: int | None) -> None:
        """It touches nobody while the catalog is away, or as soon as it dies."""
        self.clock.advance(UNTIL_A_ROLE_COUNTS)
        if self.model.away is None:
            self.ask_admin(200, "GET", f"{BASE}/cleanup")
            if dies_after is not None:
                self.fail("everything", "refuses", after=dies_after)
        failed = self.to_backstage.failed
        started = self.ask_admin(202, "POST", f"{BASE}/cleanup", json={"dryRun": False})
        if started.status_code != 202:
            return
        report = started.json()
        while report.get("outcome", "running") == "running":
            report = self.ask_admin(200, "GET", f"{BASE}/cleanup/runs/{report['runId']}").json()
        self.to_backstage.left = 0
        if self.model.is_away("catalog") and self.to_backstage.failed > failed:
            assert (report["outcome"], report["done"]) == ("refused", None), report
            return
        assert (report["outcome"], report["done"]["failed"]) == ("done", []), report
        self.model.clean_up(self.clock())

    @precondition(lambda self: self.model.lasting_keys() and self.model.away is None)
    @rule(number=pick, runs=st.integers(1, 2))
    def an_absence(self, number: int, runs: int) -> None:
        """Somebody with a key is missed by one run, or by two, and comes back."""
        _, _, who = self.chosen("owner", number)
        self.change_a_role(who, "nobody")
        for _ in range(runs):
            self.clean_up(None)
        self.change_a_role(who, "member")
        self.clean_up(None)

    @precondition(lambda self: self.model.away is None)
    @rule(
        part=st.sampled_from(list(PARTS)),
        fault=st.sampled_from(["refuses", "hangs", "fails"]),
        who=person,
        seconds=st.sampled_from([1.0, 61.0, 300.0, 700.0]),
    )
    def backstage_goes_away(self, part: str, fault: str, who: str, seconds: float) -> None:
        """Somebody was here just before, and comes again."""
        self.read_a_user(who, who)
        self.fail(part, fault)
        self.clock.advance(seconds)
        self.read_a_user(who, who)

    def fail(self, part: str, fault: str, after: int = 0) -> None:
        self.model.away = part
        self.to_backstage.fault, self.to_backstage.at, self.to_backstage.left = fault, PARTS[part], after

    @precondition(lambda self: self.model.away is not None)
    @rule()
    def backstage_is_back(self) -> None:
        """What has changed there meanwhile counts a minute later."""
        self.model.away = self.to_backstage.fault = None
        self.clock.advance(UNTIL_A_ROLE_COUNTS)

    @rule()
    def restart(self) -> None:
        self.runner.run(self.service.aclose())
        self.start()

    @rule(tier=TIERS, owner=person, wish=st.sampled_from(WISHES), number=pick)
    def restart_with_another_tier(self, tier: Tier, owner: str, wish: dict[str, Any], number: int) -> None:
        """It is one of new users and of new wishes; what there is stays."""
        self.model.tier = tier
        self.restart()
        self.create_a_key(owner, owner, None, wish, twice=False)
        if self.model.lasting_keys():
            self.rotate_a_key("owner", number, {})

    @rule(seconds=st.sampled_from([1.0, 61.0, 3600.0, 86400.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.run_jobs()

    @precondition(lambda self: self.model.away is None)
    @rule(fault=FAULTS, owner=person)
    def a_creation_meets_a_fault(self, fault: str, owner: str) -> None:
        """Nobody has its key, so there is none."""
        if self.model.roles[owner] == "nobody":
            self.change_a_role(owner, "member")
        if self.model.has_room(owner):
            self.meets_a_fault(fault, owner, ("POST", keys_path(owner), {"json": {}}))

    @precondition(lambda self: self.model.lasting_keys() and self.model.away is None)
    @rule(fault=FAULTS, number=pick, change=st.sampled_from(["rotate", "delete", "block"]))
    def a_change_meets_a_fault(self, fault: str, number: int, change: str) -> None:
        """It has happened or it has not; a rotation has not, since nobody has the new key."""
        key_id, key, owner = self.chosen("owner", number)
        if self.model.roles[owner] == "nobody" or key.blocker is not None:
            return
        path = keys_path(owner, key_id)
        asked: dict[str, tuple[str, str, dict[str, Any]]] = {
            "rotate": ("POST", f"{path}/regenerate", {"json": {}}),
            "delete": ("DELETE", path, {}),
            "block": ("PATCH", path, {"json": {"blocked": True}}),
        }
        self.meets_a_fault(fault, owner, asked[change])
        if change == "delete" and key_id not in self.litellm.rows.keys:
            del self.model.keys[key_id]
        if change == "block" and self.litellm.rows.keys[key_id]["blocked"] is True:
            self.model.block(key, owner, blocked=True)

    def meets_a_fault(self, fault: str, owner: str, asked: tuple[str, str, dict[str, Any]]) -> None:
        """The owner is told that LiteLLM failed; then it works again, and the background jobs run."""
        method, path, options = asked
        self.to_litellm.fault = fault
        response = self.send(owner, method, path, **options)
        self.to_litellm.fault = None
        assert response.status_code in COME_AGAIN, response.text
        for _ in range(2):
            self.clock.advance(UNTIL_A_LEASE_ENDS)
            self.run_jobs()
        if owner in self.litellm.rows.users:
            self.model.add_user(owner)

    # What always holds.

    @invariant()
    def litellm_has_what_the_model_has(self) -> None:
        """Users and keys, their limits, and which are blocked: nothing is lost, and there is no key that nobody got."""
        users = {who: (row["max_budget"], tuple(row["models"])) for who, row in self.litellm.rows.users.items()}
        for staying in (BOB, *STAYING):
            users.pop(staying, None)
        assert users == {who: (tier.max_budget, tier.models) for who, tier in self.model.users.items()}
        found = {
            key_id: (row["user_id"], row["blocked"] is True, row["max_budget"], tuple(row["models"]))
            for key_id, row in self.litellm.rows.keys.items()
        }
        assert found == {
            key_id: (key.owner, key.blocker is not None, key.max_budget, key.models)
            for key_id, key in self.model.keys.items()
        }
        for key_id, key in self.model.keys.items():
            expires = self.litellm.rows.keys[key_id]["expires"]
            assert (expires is None) == (key.expires_at is None), key
            if expires and key.expires_at:
                tolerance = _A_SECOND if isinstance(key, ShortKey) else _A_MINUTE
                assert abs(datetime.fromisoformat(expires).timestamp() - key.expires_at) <= tolerance, key

    def teardown(self) -> None:
        self.model.away = self.to_backstage.fault = None
        self.clock.advance(UNTIL_A_LEASE_ENDS)
        self.run_jobs()
        events = self.send(BOB, "GET", f"{BASE}/audit", params={"limit": 100}).json()["events"]
        assert [event for event in events if event["outcome"] is None] == []
        self.runner.run(self.service.aclose())
        self.runner.close()
        self.folder.cleanup()


Whole.TestCase.settings = stateful(usually=30, at_length=200)
TestTheWhole = Whole.TestCase
