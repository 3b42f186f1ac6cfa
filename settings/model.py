"""All settings, each in one place: the type, the constraints, the default, and below it what docs/settings.md says.

A setting that is added here is read, checked, printed and documented (`settings/tree.py`). A secret has `repr=False`,
so that it is masked in whatever is shown. `mask` is what `config print` has for it, where that has to be valid again;
None is for a URL, in which only the passwords are masked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote

from msgspec import Meta

from domain.identity import BASE_PATH, GroupRefs, ServiceRole
from domain.owners import OwnerEntry, SoftwareKind
from domain.redaction import MASK
from domain.refs import canonical
from domain.sessions import BUILT_IN_CLIENT
from domain.users import Tier
from domain.workloads import KeySource, KeyTerms, Match, Rule
from settings import forms
from settings.tree import At, Default, Form

DEFAULT_PORT = 7007
EMBEDDED_DATABASE = "sqlite+aiosqlite:///litellm-orchestrator.sqlite3"
PLUGIN_DATABASE = "backstage_plugin_litellm-orchestrator"
"""The name that Backstage gives to the plugin's database."""

MembershipSource = Literal["token", "catalog"]
Orphans = Literal["keep", "leave"]

Address = Annotated[str, Meta(pattern=r"^https?://[^/\s?#]+[^\s?#]*$"), Form(read=lambda url: url.rstrip("/"))]
Printable = Annotated[str, Meta(pattern="^[!-~]+$")]
Text = Annotated[str, Meta(min_length=1)]
GroupRef = Annotated[str, Meta(pattern=r"^([A-Za-z]+:)?([A-Za-z0-9-]+/)?[^/:,\s]{1,254}$")]
Groups = Annotated[
    tuple[GroupRef, ...], Meta(min_length=1, max_length=50), Form(read=forms.full_group_refs, write=forms.if_any)
]
Duration = Annotated[str, Meta(pattern=f"^{forms.DURATION}$")]
Budget = Annotated[float, Meta(ge=0)]
Rate = Annotated[int, Meta(ge=0, le=2_000_000_000)]
Count = Annotated[int, Meta(ge=0)]
PerMinute = Annotated[int, Meta(ge=1, le=100_000)]
Seconds = Annotated[float, Meta(gt=0, le=300)]
UpToAnHour = Annotated[float, Meta(ge=0, le=3600)]
Days = Form(Annotated[int, Meta(ge=1, le=36500)], lambda days: days * 86400.0, lambda held: round(held / 86400))
Strings = Annotated[tuple[str, ...], Form(str | tuple[str, ...], forms.one_or_several)]
_CONDITION = {"type": "string", "pattern": "^[^,]{1,200}$"}
# Constraints within a dict crash msgspec 0.22 while it makes the schema, so that they stand here.
Filter = Annotated[
    dict[str, Any],
    Meta(
        extra_json_schema={
            "minProperties": 1,
            "maxProperties": 20,
            "propertyNames": {"pattern": r"^[^=,\s]{1,200}$"},
            "additionalProperties": {
                "anyOf": [_CONDITION, {"type": "array", "minItems": 1, "maxItems": 20, "items": _CONDITION}]
            },
        }
    ),
]
Digits = Annotated[str, Meta(pattern="^[0-9]{1,5}$")]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
# What is in these is checked in `settings/workloads.py`, with sentences that a schema cannot say.
Anything = Annotated[Any, Meta(extra_json_schema={})]
AnyClaims = Annotated[dict[str, Any], Meta(extra_json_schema={"maxProperties": 50})]


@dataclass(frozen=True)
class UserDefaults:
    """What an operator writes for a `Tier`, which has the same fields."""

    max_budget: Budget | None = None
    """USD that a new user may spend in one `budgetDuration`; 0 is a budget."""
    budget_duration: Annotated[Duration | None, Form(read=forms.litellm_duration), Default("never")] = None
    """The time after which the budget resets: `30d`, `24h`, `1mo`. LiteLLM accepts no years and no multiples of months:
    `1y` is sent as `365d`, `3mo` as `90d`."""
    models: Annotated[tuple[Text, ...], Default("all")] = ()
    """What they may call: names of models, of access groups, and wildcards such as `gpt-*`, as LiteLLM reads them.
    `check` and the log of the start name what LiteLLM does not serve."""
    tpm_limit: Rate | None = None
    """Tokens per minute."""
    rpm_limit: Rate | None = None
    """Requests per minute."""
    max_keys: Annotated[Count | None, Default("no limit")] = None
    """The number of keys of one user."""
    max_key_life: Annotated[
        int | None, At("maxKeyDuration"), Form(Duration, forms.seconds, forms.duration), Default("no limit")
    ] = None
    """The longest life of a key, and its life if the request does not say: `90d`."""


@dataclass(frozen=True, kw_only=True)
class GroupDefaults(UserDefaults):
    """What an operator writes for the `Tier` of a group."""

    name: Annotated[GroupRef, At("group"), Form(read=forms.full_group_ref)]
    """A list: the first entry whose group a user is in overrides `userDefaults`."""
    max_budget: Annotated[Budget | None, Default("that of `userDefaults`")] = None
    """As there."""


@dataclass(frozen=True, kw_only=True)
class OwnerSettings:
    """What an operator writes for an `OwnerEntry`, which has the same fields."""

    kind: SoftwareKind
    """A list of the groups and components that may have keys: `group` or `component`. The first entry that one matches
    gives its tier; without entries only people have keys. It needs `catalogToken`."""
    conditions: Annotated[tuple[str, ...], At("filter"), Form(Filter, forms.conditions, forms.filter_of)]
    """What an entity has to meet, as in filters of Backstage's catalog: `spec.type: service`, `metadata.tags: llm`; of
    a list one has to be met."""
    max_owners: Annotated[Count | None, Default("no limit")] = None
    """The number of owners of this entry that one group may have with keys: of the components that it owns, or of the
    groups right below it."""
    tier: Annotated[Tier, At(""), Form(UserDefaults)] = field(default_factory=Tier)


@dataclass(frozen=True)
class LiteLLMSettings:
    """Where LiteLLM is, and the tiers: the first of `group_defaults` whose group a user is in, else `user_defaults`."""

    base_url: Address
    """The address of LiteLLM."""
    master_key: Annotated[Printable, Meta(min_length=1)] = field(repr=False)
    """LiteLLM's master key."""
    user_defaults: Annotated[Tier, Form(UserDefaults)] = field(default_factory=Tier)
    group_defaults: Annotated[tuple[Tier, ...], Form(tuple[GroupDefaults, ...])] = ()

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """All tiers."""
        return (*self.group_defaults, self.user_defaults)


@dataclass(frozen=True)
class RoleGroups:
    """What an operator writes for `GroupRefs`, which has the same fields."""

    admin: Annotated[Groups, At("adminGroups"), Default("none")]
    """A list of further groups of admins."""
    allowed: Annotated[Groups, At("allowedGroups"), Default("none")]
    """A list of further groups of members; the cleanup off-boards who is in none of all these groups, and nobody while
    one of them is missing from the catalog."""
    auditor: Annotated[Groups, At("auditorGroups")] = ()
    """A list of groups whose members read everything that an admin reads, and change nothing. It gives nobody keys: the
    cleanup off-boards an auditor who is in none of the other groups."""


@dataclass(frozen=True)
class BackstageSettings:
    """Where Backstage's auth and catalog are. `allowed_plugins` lists the plugins that may call; None means any."""

    base_url: Annotated[Address, Default("`backend.baseUrl`")]
    """The address of Backstage."""
    issuer: Annotated[Text | None, Default("unchecked")] = None
    """The `iss` that user tokens must have, such as `https://portal/api/auth`."""
    allowed_plugins: Annotated[
        frozenset[str] | None,
        Form(tuple[Annotated[str, Meta(pattern="^[a-z0-9_-]{1,64}$")], ...], frozenset, sorted),
        Default("any"),
    ] = field(default=None, kw_only=True)
    """The Backstage plugins that may call on behalf of users."""
    catalog_token: Annotated[Printable, Meta(min_length=8)] | None = field(default=None, repr=False)
    """A static external-access token for Backstage's catalog."""


@dataclass(frozen=True)
class ConsoleSettings:
    """What the console says and does before anybody signs in."""

    models_url: Annotated[Address | None, At("liteLLM.publicUrl")] = None
    """Where people call models, for the console."""
    refresh_url: Annotated[
        str | None,
        At("litellmOrchestrator.console.refreshUrl"),
        Meta(pattern=r"""^https?://[^/\s?#;'"]+[^\s#]*$"""),
    ] = None
    """Where Backstage renews the token of a browser that is signed in there, such as
    `https://portal.example.com/api/auth/okta/refresh?optional`, for the console."""
    contact: Annotated[Text | None, At("litellmOrchestrator.console.contact"), Meta(max_length=200)] = None
    """Whom the console tells people to ask for access."""


@dataclass(frozen=True)
class ServiceToken:
    """A caller that is not a Backstage user."""

    token: Annotated[Printable, Meta(min_length=16)] = field(repr=False, metadata={"mask": f"{MASK}-token-{{}}"})
    """A caller that is not a Backstage user: its bearer token, at least 16 characters."""
    # In lower case, as the audit log records and finds it.
    subject: Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9:/._-]{0,127}$"), Form(read=canonical)]
    """Its name in logs."""
    role: ServiceRole
    """`member`, `auditor` or `admin`."""


@dataclass(frozen=True)
class Timeouts:
    """How long to wait for LiteLLM and Backstage."""

    connect: Seconds = 2.0
    """Seconds for a connection to LiteLLM or Backstage."""
    read: Seconds = 8.0
    """Seconds for the next byte of a response."""
    pool: Seconds = 2.0
    """Seconds for a free connection."""
    deadline: Seconds = 10.0
    """Seconds for one call, including retries."""


@dataclass(frozen=True)
class CircuitSettings:
    """When calls to LiteLLM or Backstage are paused."""

    failures: Annotated[int, Meta(ge=0, le=1000)] = 10
    """Calls to LiteLLM or Backstage that fail in a row (unreachable, too slow, 502, 503, 504) after which calls to it
    are paused and get a 503 at once; 0 means never."""
    seconds: Seconds = 5.0
    """Seconds after which one call tries again."""


@dataclass(frozen=True)
class ConnectionLimits:
    """What a caller's connection may do."""

    head_seconds: Annotated[Seconds, At("head")] = 10.0
    """Seconds for the path and headers of a request."""
    body_seconds: Annotated[Seconds, At("body")] = 30.0
    """Seconds for its body, and for the caller to read the response."""
    max_connections: Annotated[int, At("max"), Meta(ge=1, le=100_000)] = 1000
    """Connections of each worker above which requests get a 503; the probes do not."""


@dataclass(frozen=True)
class Certificate:
    """The TLS certificate of this service."""

    chain: Annotated[Text, At("certificate.cert")]
    """Its certificate and chain in PEM, as in `{$file: tls.crt}`."""
    key: Annotated[Text, At("certificate.key")] = field(repr=False)
    """The key in PEM."""


@dataclass(frozen=True)
class Cors:
    """What browsers on other origins may do."""

    origins: Annotated[Strings, At("origin")] = ()
    """Origins whose pages may call; `*` matches anything but `/`."""
    methods: Annotated[Strings, Default("the usual")] = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
    """Methods that they may use."""
    allowed_headers: Strings = (
        "Authorization",
        "Content-Type",
        "Idempotency-Key",
        "If-Match",
        "If-None-Match",
        "X-Request-Id",
    )
    """Headers that they may send."""
    exposed_headers: Strings = ()
    """Headers that they may read in addition to ours (`Effective-Within`, `ETag`, `Link`, `RateLimit`,
    `RateLimit-Policy`, `Retry-After`, `X-Request-Id`)."""
    credentials: bool = False
    """Whether they may send cookies."""
    max_age: Count = 600
    """Seconds for which a preflight is valid."""


@dataclass(frozen=True)
class CleanupSettings:
    """How users who left are off-boarded."""

    enabled: bool = True
    """Whether users who left are off-boarded on schedule; it needs `catalogToken`."""
    interval: Annotated[float, Meta(ge=1, le=86400)] = 300.0
    """Seconds between runs, give or take a tenth."""
    grace_period: Annotated[float, Meta(ge=0, le=31536000), Default("`604800` (7 days)")] = 7 * 86400.0
    """Seconds between blocking a user's keys and deleting user and keys; 0 means the next run."""
    max_removals: Annotated[Count | None, Default("the larger of 10 users and 10 %")] = None
    """The number of users to block in one run above which an admin has to confirm."""
    max_deletions: Annotated[Count | None, Default("the larger of 3 users and 10 %")] = None
    """The number of users who are deleted in any 24 hours without a confirmation; the others wait, blocked. 0 means
    that an admin confirms every deletion."""
    delete_foreign: bool = False
    """Whether users that this service did not create (but the plugin, a person, LiteLLM's single sign-on) are deleted
    without a confirmation, too. They are blocked in any case."""
    orphans: Orphans = "keep"
    """Users whom the catalog has only as orphans (`backstage.io/orphan`), as older releases of Backstage keep whom
    their source does not have any more. `keep`: they count as before. `leave`: they are off-boarded, and refused where
    `membership` is `catalog`."""


@dataclass(frozen=True)
class DirectorySettings:
    """How the directory of users is kept: read whole at each run, or in a rolling sweep if there are many users."""

    full_sweep_users: Annotated[int, Meta(ge=0, le=1_000_000)] = 5000
    """LiteLLM users up to which each run of the cleanup reads all of them."""
    max_age: Annotated[float, Meta(ge=60, le=604800)] = 3600.0
    """Seconds within which every LiteLLM user is seen, if there are more."""
    max_pages: Annotated[int, Meta(ge=1, le=100_000)] = 200
    """Pages of users that one run reads from LiteLLM at most, if there are more."""


@dataclass(frozen=True)
class Issuer:
    """Who signs tokens of workloads. `ca_file` is a path, `max_token_life` in seconds."""

    name: Name
    """A list of who signs tokens of workloads: a name for the rules, of small letters, digits, `.`, `_` and `-`."""
    url: Text
    """The `iss` of its tokens, to the letter: https, or http on this machine."""
    audience: Annotated[Text, Meta(max_length=500)]
    """The `aud` that its tokens must have, and no other beside it. Choose one that no other service accepts."""
    jwks: Annotated[KeySource, Form(Anything, forms.key_source, forms.jwks), Default("`discovery`")] = field(
        default_factory=KeySource
    )
    """Where its public keys are. `discovery`: where `<url>/.well-known/openid-configuration` says; `{url: https://…}`:
    there; `{inline: {keys: […]}}`: here, as a JSON Web Key Set, for an issuer that this service cannot reach."""
    max_token_life: Annotated[int, Meta(ge=60, le=86400)] = 3600
    """Seconds between the `iat` and the `exp` of a token above which it is refused."""
    ca_file: Annotated[Text | None, Default("the system's authorities")] = None
    """The path of a PEM file with the authorities that alone may vouch for the issuer's host, such as
    `/var/run/secrets/kubernetes.io/serviceaccount/ca.crt`."""


@dataclass(frozen=True)
class MatchSettings:
    """What an operator writes for a `Match`, which has the same fields."""

    sub: Annotated[Text | None, Default("any")] = None
    """The `sub` of the tokens; with a `*` at the end, right after a `:` or `/`, all that begin like this."""
    claims: Annotated[tuple[Any, ...], Form(AnyClaims, forms.claims, forms.claims_tree), Default("none")] = ()
    """What else the tokens must say, each compared to the letter and by type: `repository_owner_id: "123"`; a mapping
    in it is one in the token: `kubernetes.io: {namespace: ci}`. `sub` or `claims` is required, and for an issuer that
    serves everybody (GitHub, GitLab.com, Google, Buildkite, HCP Terraform) the number of your organization or
    project."""


@dataclass(frozen=True)
class KeyTermsSettings:
    """What an operator writes for `KeyTerms`, which has the same fields."""

    life: Annotated[int, Meta(ge=60, le=3600)] = 900
    """Seconds for which a key works; never longer than the token itself."""
    models: Annotated[tuple[Text, ...], Default("those of the owner")] = ()
    """What a key may call: of the owner's models these."""
    max_budget: Annotated[Budget | None, Default("that of the owner")] = None
    """USD that one key may spend."""
    tpm_limit: Annotated[Rate | None, Default("that of the owner")] = None
    """Tokens per minute of one key."""
    rpm_limit: Annotated[Rate | None, Default("that of the owner")] = None
    """Requests per minute of one key."""


@dataclass(frozen=True)
class RuleSettings:
    """What an operator writes for a `Rule`, which has the same fields."""

    name: Name
    """A list of whose tokens are exchanged for keys, and for which: the name by which a workload asks (`client_id`)."""
    issuer: Text
    """The name of the issuer."""
    owner: Annotated[Text, Form(read=canonical)]
    """The entity ref of the user, group or component whose keys they are. A group or component needs an entry in
    `owners`."""
    match: Annotated[Match, Form(MatchSettings)]
    key: Annotated[KeyTerms, Form(KeyTermsSettings)] = field(default_factory=KeyTerms)
    per_minute: PerMinute = 60
    """Keys that may be made at once, across all replicas; each is free again after its part of a minute."""
    max_living: Annotated[int, Meta(ge=1, le=100_000)] = 100
    """Keys that may work at a time."""


@dataclass(frozen=True)
class WorkloadSettings:
    """Which workloads exchange tokens of their own for keys."""

    issuers: tuple[Issuer, ...] = ()
    rules: Annotated[tuple[Rule, ...], Form(tuple[RuleSettings, ...])] = ()


@dataclass(frozen=True)
class CommandLineSettings:
    """Command lines that people sign in on their devices. Lives are in seconds."""

    key_life: Annotated[int, Form(Duration, forms.seconds, forms.duration)] = 12 * 3600
    """The life of their keys: `12h`, from `5m` to `7d`. Whoever has left gets no key after the last one."""
    session_life: Annotated[int, Form(Duration, forms.seconds, forms.duration)] = 30 * 86400
    """The time for which a device stays signed in without being used: `30d`, from `1h` to `1y`."""
    clients: Annotated[tuple[Name, ...], Default("none")] = ()
    """A list of further programs that may sign in: the names by which they ask (`client_id`), beside `litellm-key`."""

    @property
    def names(self) -> frozenset[str]:
        """The names by which programs may ask."""
        return frozenset({BUILT_IN_CLIENT, *self.clients})


@dataclass(frozen=True)
class Settings:
    """All settings, as this service holds them: `audit_retention` in seconds, `database_url` for SQLAlchemy."""

    BLOCK: ClassVar = "litellmOrchestrator"

    groups: Annotated[GroupRefs, At("liteLLM"), Form(RoleGroups)]
    litellm: Annotated[LiteLLMSettings, At("liteLLM")]
    backstage: BackstageSettings
    host: Annotated[Text, At("backend.listen.host"), Default("every address")] = "127.0.0.1"
    """As an object: the address."""
    port: Annotated[int, At("backend.listen.port"), Form(Annotated[int, Meta(ge=0, le=65535)] | Digits)] = DEFAULT_PORT
    """As an object: the port."""
    certificate: Annotated[Certificate | None, At("backend.https")] = None
    cors: Annotated[Cors, At("backend.cors")] = Cors()
    console: Annotated[ConsoleSettings, At("")] = ConsoleSettings()
    public_url: Annotated[Address | None, Form(read=forms.without_base_path)] = None
    """The address by which people reach this service, without its path: `https://portal.example.com`. Devices are
    signed in there; without it they are not. No address is ever taken from a request."""
    trusted_proxies: Annotated[Strings, Default("none")] = ()
    """The proxies that say in `X-Forwarded-For` from which address a request comes: addresses and networks, such as
    `10.20.30.0/28`. Others are not believed; whoever else is in such a network could say what they like."""
    service_tokens: tuple[ServiceToken, ...] = ()
    secret_keys: Annotated[
        tuple[Annotated[str, Meta(min_length=32)], ...],
        At("litellmOrchestrator.secretKey"),
        Meta(min_length=1, max_length=2, extra_json_schema={"type": ["string", "array"], "minLength": 32}),
        Form(read=forms.one_or_several, write=forms.if_any),
        Default("`liteLLM.masterKey` seals"),
    ] = field(default=(), repr=False, metadata={"mask": f"{MASK}-secret-key-number-{{:012}}"})
    """A secret of at least 32 random characters under which kept answers are sealed, so that they outlive a change of
    the master key. While it is replaced, a list of the new and the old one: the first seals, both open."""
    owners: Annotated[tuple[OwnerEntry, ...], Form(tuple[OwnerSettings, ...])] = ()
    workloads: WorkloadSettings = WorkloadSettings()
    command_line: Annotated[CommandLineSettings, At("litellmOrchestrator.cli")] = CommandLineSettings()
    timeouts: Timeouts = Timeouts()
    circuit_breaker: CircuitSettings = CircuitSettings()
    connections: ConnectionLimits = ConnectionLimits()
    membership: Annotated[MembershipSource | None, Default("`catalog` with a `catalogToken`, else `token`")] = None
    """`catalog`: Backstage's catalog says who is in which group, so leaving takes effect within `membershipSeconds`,
    nested groups count, and the cleanup agrees. `token`: the token says so, as in the plugin, so leaving takes effect
    when the token expires."""
    membership_seconds: UpToAnHour = 60.0
    """Seconds for which an answer of the catalog about a user is cached."""
    membership_stale_seconds: UpToAnHour = 600.0
    """Seconds for which such an answer still allows what it allowed while the catalog does not answer; what it does not
    allow is a 503 then."""
    include_nested_groups: bool = True
    """Whether members of child groups count as members, for requests and the cleanup."""
    database_url: Annotated[
        str,
        At("litellmOrchestrator.database.url"),
        Meta(pattern=r"^(sqlite|postgres(ql)?)(\+[a-z]+)?://"),
        Form(read=forms.sqlalchemy_url),
        Default("`sqlite:///litellm-orchestrator.sqlite3`"),
    ] = field(default=EMBEDDED_DATABASE, repr=False, metadata={"mask": None})
    """The database of this service; `postgresql://user:password@host/name` for several replicas, with at most 20
    connections for each worker."""
    cleanup: CleanupSettings = CleanupSettings()
    directory: DirectorySettings = DirectorySettings()
    creates_per_minute: Annotated[PerMinute, At("litellmOrchestrator.rateLimit.createsPerMinute")] = 30
    """Users and keys that one caller may create per minute, across all replicas; the same for reports of leaked
    keys."""
    changes_per_minute: Annotated[PerMinute, At("litellmOrchestrator.rateLimit.changesPerMinute")] = 120
    """Changes and deletions of users and keys that one caller may make per minute, across all replicas. Deleting or
    blocking what exists is never refused."""
    refusals_per_minute: Annotated[PerMinute, At("litellmOrchestrator.rateLimit.refusalsPerMinute")] = 30
    """Changes that one caller may try without being allowed to, per minute, until they get a 429."""
    audit_retention: Annotated[float, At("litellmOrchestrator.audit.retentionDays"), Days] = 365 * 86400.0
    """Days for which the audit log is kept."""
    maintenance_interval: UpToAnHour = 10.0
    """Seconds between runs of the background jobs (revoke replaced keys, reconcile interrupted changes); 0 means never,
    on this replica."""
    known_user_seconds: Annotated[float, Meta(ge=0, le=86400)] = 300.0
    """Seconds for which a user seen in LiteLLM is assumed to exist."""
    effective_within_seconds: Annotated[int, Meta(ge=0, le=86400)] = 60
    """Seconds for which a process of LiteLLM may accept a key that was blocked or deleted through another one: its
    `general_settings.user_api_key_cache_ttl`. Callers learn it from the header `Effective-Within`; 0 suits a single
    process."""

    @property
    def service_url(self) -> str | None:
        """The address of this service with its path, None if nobody said it."""
        return None if self.public_url is None else f"{self.public_url}{BASE_PATH}"

    @property
    def asks_catalog(self) -> bool:
        """Whether the catalog says who is in which group, as it does for the cleanup, and not the token."""
        if self.membership is None:
            return self.backstage.catalog_token is not None
        return self.membership == "catalog"


@dataclass(frozen=True)
class Connection:
    """How an operator writes the connection of Backstage's PostgreSQL as an object."""

    host: str = "localhost"
    """As an object: the address."""
    port: Annotated[int, Form(int | Digits)] = 5432
    """As an object: the port."""
    user: str = "postgres"
    """As an object: the user."""
    password: Annotated[str, Default("none")] = field(default="", repr=False)
    """As an object: the password."""
    database: str = PLUGIN_DATABASE
    """As an object: the database, which must exist."""

    @property
    def url(self) -> str:
        """The same as a URL."""
        return f"postgresql://{quote(self.user, '')}:{quote(self.password, '')}@{self.host}:{self.port}/{self.database}"


@dataclass(frozen=True)
class OtherForms:
    """What Backstage and its plugin have in other places or forms. `settings/parse.py` reads it into `Settings`."""

    admin_group: Annotated[GroupRef | None, At("liteLLM.adminGroup"), Default("required, or `adminGroups`")] = None
    """The group of the admins; a bare name means `group:default/<name>`."""
    allowed_group: Annotated[GroupRef | None, At("liteLLM.allowedGroup"), Default("required, or `allowedGroups`")] = (
        None
    )
    """The group of the members; likewise."""
    base_url: Annotated[Address | None, At("backend.baseUrl"), Default("")] = None
    """The address of Backstage, unless `litellmOrchestrator.backstage.baseUrl` is set."""
    listen: Annotated[
        str,
        At("backend.listen"),
        Meta(pattern=r"^([^\s:]*|\[[0-9a-fA-F:]+\]):[0-9]{1,5}$"),
        Default(f"`127.0.0.1:{DEFAULT_PORT}`"),
    ] = ""
    """Where this service listens: `:port` (every address), `host:port`, or an object."""
    https: Annotated[bool, At("backend.https"), Meta(extra_json_schema={"enum": [False]})] = False
    """TLS of this service itself; `true` (Backstage's self-signed certificate) is not supported."""
    client: Annotated[str | None, At("backend.database.client"), Default("")] = None
    """With `pg`, and without `litellmOrchestrator.database.url`, the state is in this database."""
    connection_url: Annotated[str | None, At("backend.database.connection"), Default("")] = None
    """Its connection: a `postgresql://` URL, or an object."""
    connection: Annotated[Connection, At("backend.database.connection")] = Connection()


FIRST = ("baseUrl", "publicUrl", "masterKey")
"""What comes first in `liteLLM`, to which several dataclasses belong, in docs/settings.md and `config print`."""
