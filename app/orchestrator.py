"""The services of one process."""

from __future__ import annotations

from functools import partial
from typing import Any

import structlog

from app.foundation import Foundation
from app.ports import Ports
from clients.backstage.catalog import Catalog
from domain.actions import Action
from domain.due import Kind
from domain.identity import Principal
from domain.redaction import Redaction
from services.adoption.administration import AdoptionAdministration
from services.adoption.adopt_user import AdoptUser
from services.adoption.adoption import Adoption
from services.adoption.reading import AdoptionReader
from services.background import BackgroundJobs, DueWork, Handler, Retention
from services.changes.audit_log import AuditLog
from services.changes.changes import Changes, Context
from services.changes.queue import ChangeQueue
from services.changes.reconciliation import Reconciliation
from services.changes.refusals import Refusals
from services.changes.sealing import Sealing
from services.console import Console
from services.effect import Effect
from services.health import Health
from services.keys.create import CreateKey
from services.keys.delete import DeleteKey
from services.keys.issuer import KeyIssuer
from services.keys.keys import Keys
from services.keys.owner_check import OwnerCheck
from services.keys.report import AnnotateReport, LeakedKeys, ReportKey
from services.keys.revoke import RevokeKeys
from services.keys.rotate import RotateKey
from services.keys.rules import KeyRules
from services.keys.transfer import TransferKey
from services.keys.update import UpdateKey
from services.keys.versions import KeyVersions
from services.monitoring import Monitoring
from services.offboarding.account import RunAccount
from services.offboarding.administration import CleanupAdministration
from services.offboarding.blocking import KeyBlocking
from services.offboarding.cleanup import Cleanup
from services.offboarding.deletion import UserDeletion
from services.offboarding.departures import Departures
from services.offboarding.execution import PlanExecution
from services.offboarding.offboard_user import OffboardUser
from services.offboarding.snapshot import SnapshotReader
from services.owners.known_secrets import SecretsKnown
from services.owners.owners import Owners
from services.owners.sums import OwnerSums
from services.single_flight import SingleFlight
from services.tokens.approval import DeviceApproval
from services.tokens.authorization import AuthorizeDevice
from services.tokens.device_grant import DEVICE_GRANT, DeviceGrant
from services.tokens.endpoint import Grant, TokenEndpoint
from services.tokens.ends import EndShortKeys, RecordRefusals
from services.tokens.exchange import GRANT_TYPE, TokenExchange
from services.tokens.metadata import AuthorizationMetadata
from services.tokens.mint import MintKey
from services.tokens.refresh import REFRESH_GRANT, RefreshGrant
from services.tokens.revocation import RevokeToken
from services.tokens.session_ends import SessionEnds
from services.tokens.session_keys import FreshAuthority, SessionKeys
from services.tokens.sessions import SignedInDevices
from services.tokens.workloads import Workloads
from services.usage_report import Usage
from services.users.dates import CreationDates
from services.users.list import ListUsers
from services.users.membership import CatalogMembership, TokenMembership
from services.users.models import Models
from services.users.sweep import DirectorySweep
from services.users.tiers import Tiers
from services.users.update import UpdateUser
from services.users.users import CreateUser, Users
from settings.model import Settings
from settings.secrets import secrets_in
from state.figures import Figures
from state.rates import RatePolicy


class Orchestrator:
    """All services of one process. `services` are those that the handlers call."""

    def __init__(self, settings: Settings, ports: Ports | None = None) -> None:
        self.settings = settings
        self.ports = ports or Ports()
        self.redaction = Redaction(secrets_in(settings))
        self.foundation = Foundation(settings, self.ports)
        self._asked_catalog = self._catalog_membership()
        self._owners = self._owners_by(self._asked_catalog)
        self._secrets_known = SecretsKnown(
            events=self.foundation.events, directory=self.foundation.directory, litellm=self.foundation.litellm
        )
        self._changes = self._write_path()
        self._issuer = KeyIssuer(litellm=self.foundation.litellm, due=self.foundation.due)
        self._leaked = LeakedKeys(litellm=self.foundation.litellm, reported=self.foundation.reported)
        self._session_ends = SessionEnds(
            changes=self._changes,
            codes=self.foundation.device_codes,
            sessions=self.foundation.sessions,
            short_keys=self.foundation.short_keys,
            due=self.foundation.due,
            issuer=self._issuer,
            leaked=self._leaked,
        )
        self._execution = PlanExecution(
            changes=self._changes,
            blocking=KeyBlocking(
                keys=self.foundation.litellm_blocking,
                offboardings=self.foundation.offboardings,
                reported=self.foundation.reported,
                lease=self.foundation.lease,
                changes=self._changes,
            ),
            deletion=UserDeletion(
                litellm=self.foundation.litellm,
                deletions=self.foundation.deletions,
                lease=self.foundation.lease,
                changes=self._changes,
            ),
            offboardings=self.foundation.offboardings,
            lease=self.foundation.lease,
            directory=self.foundation.directory,
            short_keys=self.foundation.short_keys,
            devices=self._session_ends,
        )
        self.sweep = DirectorySweep(
            directory=self.foundation.directory,
            litellm=self.foundation.litellm,
            settings=settings.directory,
            interval=settings.cleanup.interval,
        )
        self.cleanup = self._cleanup()
        self.cleanup_administration = CleanupAdministration(
            cleanup=self.cleanup,
            scheduled=self.cleanup is not None and settings.cleanup.enabled,
            patience=self.ports.patience,
        )
        health = Health(
            litellm=self.foundation.litellm,
            tokens=self.foundation.tokens,
            database=self.foundation.database,
            breakers=self.foundation.breakers,
            now=self.ports.clock,
            patience=self.ports.dependency_patience,
        )
        self.monitoring = Monitoring(
            metrics=self.foundation.metrics,
            health=health,
            figures=Figures(self.foundation.database),
            now=self.ports.clock,
            patience=self.ports.dependency_patience,
        )
        self.services: list[Any] = [
            self._owners,
            self._secrets_known,
            OwnerSums(owners=self._owners, directory=self.foundation.directory, litellm=self.foundation.litellm),
            AuditLog(events=self.foundation.events),
            health,
            self.monitoring,
            self.cleanup_administration,
            Console(settings=settings.console, people=self.ports.people),
            Effect(seconds=settings.effective_within_seconds),
        ]
        self.background = self._users_and_keys()

    async def principal(self, token: str) -> Principal:
        """The principal of a bearer token. Raises AuthenticationError, UpstreamError."""
        caller = self.ports.sign_in(token) or await self.foundation.tokens.verify(token)
        if self._asked_catalog is not None and self.settings.asks_catalog:
            return await self._asked_catalog.principal(caller)
        return await TokenMembership(groups=self.settings.groups).principal(caller)

    async def aclose(self) -> None:
        """Waits for the cleanups and adoptions that were started here, and closes every connection."""
        await self.cleanup_administration.finish()
        await self.adoption_administration.finish()
        await self.foundation.aclose()

    def _catalog_membership(self) -> CatalogMembership | None:
        if self.foundation.catalog is None:
            return None
        return self._membership_by(self.foundation.catalog)

    def _membership_by(self, catalog: Catalog) -> CatalogMembership:
        """One that has asked nothing yet."""
        return CatalogMembership(
            catalog=catalog,
            groups=self.settings.groups,
            seconds=self.settings.membership_seconds,
            stale_seconds=self.settings.membership_stale_seconds,
            now=self.ports.clock,
        )

    def _owners_by(self, membership: CatalogMembership | None) -> Owners:
        """Those that have asked nothing yet."""
        return Owners(
            entries=self.settings.owners,
            catalog=self.foundation.catalog,
            membership=membership,
            directory=self.foundation.directory,
            litellm=self.foundation.litellm,
            seconds=self.settings.membership_seconds,
            stale_seconds=self.settings.membership_stale_seconds,
            now=self.ports.clock,
        )

    def _write_path(self) -> Changes:
        context = Context(
            new_id=self.ports.new_id,
            request_id=_request_id,
            sleep=self.ports.sleep,
            heartbeat=self.ports.pause,
            patience=self.ports.change_patience,
        )
        refusals = Refusals(
            database=self.foundation.database,
            changes=self.foundation.change_table,
            repetitions=self.foundation.repetitions,
            rates=self.foundation.rates,
            rate=RatePolicy("refusals", self.settings.refusals_per_minute),
            metrics=self.foundation.metrics,
            redaction=self.redaction,
        )
        secrets = (*self.settings.secret_keys, self.settings.litellm.master_key)
        sealing = Sealing(self.foundation.root, secrets=secrets)
        return Changes(
            table=self.foundation.change_table,
            queue=ChangeQueue(),
            sealing=sealing,
            refusals=refusals,
            metrics=self.foundation.metrics,
            redaction=self.redaction,
            context=context,
        )

    def _cleanup(self) -> Cleanup | None:
        if self.foundation.catalog is None:
            return None
        snapshots = SnapshotReader(
            catalog=self.foundation.catalog,
            litellm=self.foundation.litellm,
            directory=self.foundation.directory,
            sweep=self.sweep,
            departures=Departures(
                offboardings=self.foundation.offboardings,
                deletions=self.foundation.deletions,
                runs=self.foundation.cleanup_runs,
                keys=self.foundation.litellm_blocking,
            ),
            groups=self.settings.groups,
            owners=self._owners,
            known=self._secrets_known,
        )
        return Cleanup(
            snapshots=snapshots,
            execution=self._execution,
            runs=self.foundation.cleanup_runs,
            lease=self.foundation.lease,
            settings=self.settings.cleanup,
            account=RunAccount(
                runs=self.foundation.cleanup_runs, changes=self._changes, metrics=self.foundation.metrics
            ),
        )

    def _adoption(self, adopt_user: AdoptUser) -> Adoption | None:
        if self.foundation.catalog is None:
            return None
        reader = AdoptionReader(
            catalog=self.foundation.catalog,
            litellm=self.foundation.litellm,
            accounts=self.foundation.litellm_accounts,
            offboardings=self.foundation.offboardings,
            groups=self.settings.groups,
        )
        return Adoption(
            reader=reader, adopt_user=adopt_user, runs=self.foundation.adoption_runs, lease=self.foundation.lease
        )

    def _users_and_keys(self) -> BackgroundJobs:
        foundation, changes = self.foundation, self._changes
        litellm, now = foundation.litellm, self.ports.wall_clock
        creates = RatePolicy("creates", self.settings.creates_per_minute)
        reports = RatePolicy("reports", self.settings.creates_per_minute)
        first_uses = RatePolicy("first uses", self.settings.creates_per_minute)
        updates = RatePolicy("changes", self.settings.changes_per_minute)

        tiers = Tiers(
            groups=self.settings.litellm.group_defaults,
            defaults=self.settings.litellm.user_defaults,
            catalog=self._asked_catalog,
            owners=self._owners,
        )
        create_user = CreateUser(
            changes=changes,
            litellm=litellm,
            tiers=tiers,
            catalog=self._asked_catalog,
            owners=self._owners,
            directory=foundation.directory,
            rate=creates,
            first_uses=first_uses,
        )
        dates = CreationDates(directory=foundation.directory, now=now)
        users = Users(
            litellm=litellm,
            create_user=create_user,
            dates=dates,
            known_seconds=self.settings.known_user_seconds,
            now=self.ports.clock,
        )
        models = Models(source=foundation.litellm_models, litellm=litellm, tiers=tiers, now=self.ports.clock)
        list_users = ListUsers(
            litellm=litellm,
            directory=foundation.directory,
            sweep=self.sweep,
            first_sweep=SingleFlight(),
            dates=dates,
            owners=self._owners,
        )

        adopt_user = AdoptUser(
            changes=changes,
            litellm=litellm,
            accounts=foundation.litellm_accounts,
            offboardings=foundation.offboardings,
            directory=foundation.directory,
        )
        self.adoption = self._adoption(adopt_user)
        self.adoption_administration = AdoptionAdministration(adoption=self.adoption)

        keys = Keys(litellm=litellm, users=users, revocations=foundation.revocations, now=now)
        rules = KeyRules(keys=keys, models=models, tiers=tiers, reported=foundation.reported, now=now)
        issuer, leaked = self._issuer, self._leaked
        revoke_keys = RevokeKeys(changes=changes, litellm=litellm, issuer=issuer, revocations=foundation.revocations)
        delete_key = DeleteKey(
            changes=changes,
            users=users,
            keys=keys,
            litellm=litellm,
            issuer=issuer,
            revocations=foundation.revocations,
            short_keys=foundation.short_keys,
            rate=updates,
        )
        transfer_key = TransferKey(
            changes=changes,
            users=users,
            owners=self._owners,
            keys=keys,
            litellm=litellm,
            rules=rules,
            issuer=issuer,
            offboardings=foundation.offboardings,
            rate=updates,
        )
        update_key = UpdateKey(
            changes=changes,
            users=users,
            keys=keys,
            litellm=litellm,
            blocking=foundation.litellm_blocking,
            rules=rules,
            short_keys=foundation.short_keys,
            rate=updates,
        )
        mint = MintKey(
            changes=changes,
            users=users,
            owners=self._owners,
            rules=rules,
            issuer=issuer,
            short_keys=foundation.short_keys,
            due=foundation.due,
            offboardings=foundation.offboardings,
            now=now,
            clock=self.ports.clock,
        )
        workload_rules = {rule.name: rule for rule in self.settings.workloads.rules}
        exchange = TokenExchange(
            rules=workload_rules,
            issuers=foundation.issuers,
            mint=mint,
            refused=foundation.refused_exchanges,
            running=SingleFlight(),
            metrics=foundation.metrics,
            now=now,
        )
        report_key = ReportKey(changes=changes, leaked=leaked, short_keys=foundation.short_keys, rate=reports)

        self.services += [
            self.adoption_administration,
            tiers,
            users,
            models,
            keys,
            create_user,
            list_users,
            UpdateUser(
                changes=changes,
                litellm=litellm,
                models=models,
                owners=self._owners,
                directory=foundation.directory,
                dates=dates,
                rate=updates,
            ),
            OffboardUser(
                changes=changes,
                execution=self._execution,
                lease=foundation.lease,
                offboardings=foundation.offboardings,
                litellm=litellm,
                users=users,
            ),
            CreateKey(changes=changes, users=users, rules=rules, issuer=issuer, rate=creates),
            update_key,
            delete_key,
            RotateKey(
                changes=changes,
                users=users,
                keys=keys,
                rules=rules,
                issuer=issuer,
                revoke_keys=revoke_keys,
                events=foundation.events,
                rate=creates,
            ),
            transfer_key,
            report_key,
            *self._devices(exchange, mint, users, updates),
            Workloads(
                settings=self.settings.workloads,
                issuers=foundation.issuers,
                short_keys=foundation.short_keys,
                events=foundation.events,
            ),
            KeyVersions(
                litellm=litellm,
                users=users,
                revocations=foundation.revocations,
                events=foundation.events,
                now=now,
            ),
            Usage(
                usage=foundation.litellm_usage,
                litellm=litellm,
                users=users,
                events=foundation.events,
                now=now,
            ),
        ]
        reconciliation = Reconciliation(
            changes=changes,
            events=foundation.events,
            due=foundation.due,
            litellm=litellm,
            repairs={
                Action.KEY_CREATE: issuer.repair,
                Action.KEY_REGENERATE: issuer.repair,
                Action.KEY_MINT: issuer.repair,
                Action.KEY_UPDATE: update_key.repair,
                Action.KEY_DELETE: delete_key.repair,
                Action.KEY_REPORT: report_key.repair,
                Action.KEY_TRANSFER: transfer_key.repair,
                Action.USER_ADOPT: adopt_user.repair,
            },
        )
        owner_check = OwnerCheck(
            changes=changes,
            due=foundation.due,
            litellm=litellm,
            users=users,
            issuer=issuer,
            kept_answers=foundation.kept_answers,
        )
        handlers: dict[Kind, Handler] = {
            Kind.REVOCATION: revoke_keys.revoke_due,
            Kind.RECONCILIATION: reconciliation.reconcile,
            Kind.BLOCK_NOTE: AnnotateReport(
                changes=changes, litellm=litellm, blocking=foundation.litellm_blocking, due=foundation.due
            ),
            Kind.OWNER_CHECK: owner_check,
            Kind.MARK_REVIEW: leaked.review,
            Kind.SHORT_KEY_END: EndShortKeys(changes=changes, issuer=issuer, short_keys=foundation.short_keys),
            Kind.SESSION_END: self._session_ends.finish_due,
            Kind.REFUSED_EXCHANGES: RecordRefusals(
                changes=changes, refused=foundation.refused_exchanges, rules=workload_rules
            ),
        }
        return BackgroundJobs(
            due=DueWork(queue=foundation.due, handlers=handlers, now=self.ports.clock),
            reconciliation=reconciliation,
            retention=Retention(
                events=foundation.events,
                kept_answers=foundation.kept_answers,
                rates=foundation.rates,
                device_codes=foundation.device_codes,
                code_guesses=foundation.code_guesses,
                sessions=foundation.sessions,
                seconds=self.settings.audit_retention,
                now=self.ports.clock,
            ),
        )

    def _devices(self, exchange: TokenExchange, mint: MintKey, users: Users, rate: RatePolicy) -> list[Any]:
        """What gives tokens, and what signs devices in and out."""
        foundation, settings = self.foundation, self.settings
        clients, database = settings.command_line.names, foundation.database
        grants: dict[str, Grant] = {GRANT_TYPE: exchange}
        if foundation.catalog is not None:
            keys = SessionKeys(
                authority=FreshAuthority(
                    membership=partial(self._membership_by, foundation.catalog), owners=self._owners_by
                ),
                mint=mint,
                changes=self._changes,
                sealing=self._changes.sealing,
                short_keys=foundation.short_keys,
                key_life=settings.command_line.key_life,
                litellm_url=settings.console.models_url,
                now=self.ports.wall_clock,
            )
            codes, sessions = foundation.device_codes, foundation.sessions
            grants[DEVICE_GRANT] = DeviceGrant(
                clients=clients, database=database, codes=codes, sessions=sessions, keys=keys
            )
            grants[REFRESH_GRANT] = RefreshGrant(
                clients=clients, database=database, sessions=sessions, keys=keys, ends=self._session_ends
            )
        return [
            TokenEndpoint(grants=grants, metrics=foundation.metrics),
            AuthorizationMetadata(service_url=settings.service_url, grant_types=tuple(grants)),
            AuthorizeDevice(
                service_url=settings.service_url,
                has_catalog=foundation.catalog is not None,
                clients=clients,
                database=database,
                codes=foundation.device_codes,
                rates=foundation.rates,
                root=foundation.root,
                redaction=self.redaction,
            ),
            DeviceApproval(
                settings=settings.command_line,
                changes=self._changes,
                users=users,
                owners=self._owners,
                database=database,
                codes=foundation.device_codes,
                guesses=foundation.code_guesses,
                rates=foundation.rates,
                root=foundation.root,
                rate=rate,
                new_id=self.ports.new_id,
            ),
            SignedInDevices(changes=self._changes, sessions=foundation.sessions, ends=self._session_ends),
            RevokeToken(
                changes=self._changes,
                database=database,
                sessions=foundation.sessions,
                short_keys=foundation.short_keys,
                issuer=self._issuer,
                ends=self._session_ends,
            ),
        ]


def _request_id() -> str | None:
    """The id that the request log has bound; None outside of a request."""
    return structlog.contextvars.get_contextvars().get("request_id")
