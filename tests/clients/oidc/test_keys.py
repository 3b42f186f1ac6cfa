"""The keys of an issuer: where they are found, how they rotate, what an issuer may answer, and what is known here."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clients.oidc.issuers import Issuers
from domain.errors import UpstreamError, UpstreamFaultError, UpstreamTimeoutError, UpstreamUnavailableError
from domain.workloads import KeysHealth, KeySource
from settings.model import Issuer, Timeouts
from tests.clients.oidc.conftest import refused
from tests.conftest import Clock, no_sleep
from tests.support.certificates import Authority
from tests.support.issuers import AUDIENCE, DISCOVERY, JWKS, RSA, SUBJECT, URL, SigningIssuer, issuers_of, signed
from tests.support.raw_http import free_port, serving
from tests.support.upstreams import Answer, Holding, hang, refuse, respond

NAME = "Issuer ci"


async def failed(issuers: Issuers, token: str) -> UpstreamError:
    """Why nobody can tell whether `token` verifies: no fault of its holder."""
    with pytest.raises(UpstreamError) as raised:
        await issuers.verify("ci", token)
    return raised.value


async def test_a_token_that_verifies(issuer: SigningIssuer, issuers: Issuers) -> None:
    """Whose it is, what it says, and until when."""
    token = await issuers.verify("ci", issuer.token(repository="acme/shop"))
    now = issuer.now()
    assert (token.issuer, token.subject, token.claims["repository"]) == ("ci", SUBJECT, "acme/shop")
    assert (token.issued_at, token.expires_at) == (now, now + 300)
    assert "acme" not in repr(token).replace(SUBJECT, "")


async def test_the_edges_of_time(issuer: SigningIssuer, issuers: Issuers) -> None:
    """A minute of leeway where the issuer's clock may be ahead, the whole life, and not a second after the end."""
    now = issuer.now()
    for times in (
        {"iat": now + 60, "exp": now + 61},
        {"nbf": now + 60},
        {"iat": now - 3599, "exp": now + 1},
        {"iat": now, "exp": now + 3600},
        {"iat": now - 0.5, "exp": now + 0.5, "nbf": now - 1e9},
    ):
        assert (await issuers.verify("ci", issuer.token(**times))).expires_at > now
    short = issuers_of(issuer, max_token_life=300)
    await short.verify("ci", issuer.token())
    assert await refused(short, issuer.token(exp=now + 301)) == "it is valid for longer than maxTokenLife of the issuer"


async def test_the_longest_token(issuer: SigningIssuer, issuers: Issuers) -> None:
    """16 KiB to the character."""
    tokens = {len(token): token for token in (issuer.token(more="x" * more) for more in range(11_900, 12_100))}
    await issuers.verify("ci", tokens[max(length for length in tokens if length <= 16_384)])
    assert 16_384 in tokens
    too_long = tokens[min(length for length in tokens if length > 16_384)]
    assert await refused(issuers, too_long) == "it is longer than 16 KiB"


@pytest.mark.parametrize("key", [RSA, ECKey.generate_key("P-256")], ids=["RS256", "ES256"])
async def test_the_same_token_again(clock: Clock, key: Any) -> None:
    """Its `replay_id` is that of its `jti`, or else of what is signed: another signature makes no other token."""
    issuer = SigningIssuer(clock, key=key)
    issuers = issuers_of(issuer)

    async def replay_id(token: str) -> str:
        return (await issuers.verify("ci", token)).replay_id

    named = issuer.token()
    assert await replay_id(named) == await replay_id(named) == await replay_id(issuer.token(more="x"))
    assert await replay_id(named) != await replay_id(issuer.token(jti="token-2"))
    for without in (None, 5, "", ["token-1"]):
        header, claims = issuer.header(), issuer.claims(jti=without)
        again = [signed(header, claims, issuer.key, issuer.algorithm) for _ in range(2)]
        assert len({await replay_id(token) for token in again}) == 1
        assert await replay_id(again[0]) != await replay_id(issuer.token(jti=without, more="x"))
    # ES256: (r, s) and (r, n - s) are both signatures of the same.
    content, _, signature = issuer.token(jti=None).rpartition(".")
    if issuer.algorithm == "ES256":
        other = f"{content}.{negated(signature)}"
        assert other != f"{content}.{signature}"
        assert await replay_id(other) == await replay_id(f"{content}.{signature}")
    another = SigningIssuer(clock, "https://another.example.com", key)
    of_another = await issuers_of(another).verify("ci", another.token())
    assert of_another.replay_id != await replay_id(named)


def negated(signature: str) -> str:
    """The other ECDSA signature on P-256."""
    raw = base64.urlsafe_b64decode(signature + "==")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    other = raw[:32] + (order - int.from_bytes(raw[32:])).to_bytes(32)
    return base64.urlsafe_b64encode(other).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        (URL, [f"{URL}{DISCOVERY}", f"{URL}{JWKS}"]),
        (f"{URL}/", [f"{URL}{DISCOVERY}", f"{URL}{JWKS}"]),
        (f"{URL}/tenant/v2.0", [f"{URL}/tenant/v2.0{DISCOVERY}", f"{URL}/tenant/v2.0{JWKS}"]),
    ],
)
async def test_discovery(clock: Clock, url: str, asked: list[str]) -> None:
    """Below the issuer's url, where the document says the keys are; `iss` is the url with its slash or without.

    For ten minutes nothing is asked again.
    """
    issuer = SigningIssuer(clock, url)
    issuers = issuers_of(issuer)
    await issuers.verify("ci", issuer.token())
    clock.advance(599)
    await issuers.verify("ci", issuer.token())
    assert issuer.seen == asked
    assert await refused(issuers, issuer.token(iss=f"{url}/")) == "its iss is not the url of the issuer"


async def test_keys_at_an_address_of_the_settings(issuer: SigningIssuer) -> None:
    """No document is asked for."""
    address = "https://keys.example.com/of/the/issuer?version=2"
    issuers = issuers_of(issuer, jwks=KeySource(url=address))
    await issuers.verify("ci", issuer.token())
    assert issuer.seen == [address]


async def test_keys_in_the_settings(issuer: SigningIssuer) -> None:
    """Nobody is asked; a key that is not among them does not verify, whenever it was signed."""
    issuers = issuers_of(issuer, jwks=KeySource(inline=issuer.jwks))
    await issuers.verify("ci", issuer.token())
    assert await issuers.algorithms("ci") == {"ES256"}
    assert issuers.health("ci") == KeysHealth(count=1)
    issuer.rotate()
    assert await refused(issuers, issuer.token()) == "the issuer publishes no key with the kid of the token"
    assert issuer.seen == []


@pytest.mark.parametrize("behind", [0, 59])
async def test_keys_rotate(issuer: SigningIssuer, issuers: Issuers, clock: Clock, behind: int) -> None:
    """A new key is found ten seconds after the last fetch at the latest; until then its holder is told to wait.

    Also if the issuer's clock is behind: then its token looks older than the set of keys that is known.
    """
    await issuers.verify("ci", issuer.token())
    issuer.rotate()
    clock.advance(4)
    error = await failed(issuers, issuer.token(iat=int(clock()) - behind))
    assert isinstance(error, UpstreamUnavailableError)
    assert error.retry_after == 6
    assert len(issuer.seen) == 2
    clock.advance(6)
    await issuers.verify("ci", issuer.token())
    assert len(issuer.seen) == 4


async def test_the_keys_move_to_another_address(issuer: SigningIssuer, issuers: Issuers, clock: Clock) -> None:
    """The document is read again with each set."""
    await issuers.verify("ci", issuer.token())
    issuer.rotate()
    clock.advance(10)
    issuer.answers[DISCOVERY] = respond(200, json={"issuer": URL, "jwks_uri": "https://keys.example.com/new"})
    await issuers.verify("ci", issuer.token())
    assert issuer.seen[-1] == "https://keys.example.com/new"


@pytest.mark.parametrize("path", [DISCOVERY, JWKS])
@pytest.mark.parametrize("failure", [refuse, hang, respond(500), respond(503), respond(404), respond(200, text="<p>")])
async def test_an_outage(issuer: SigningIssuer, issuers: Issuers, clock: Clock, path: str, failure: Answer) -> None:
    """Known keys go on, also past their age; one that is new waits, and works once the issuer is back."""
    await issuers.verify("ci", issuer.token())
    issuer.answers[path] = failure
    clock.advance(601)
    await issuers.verify("ci", issuer.token())
    issuer.rotate()
    assert isinstance(await failed(issuers, issuer.token()), UpstreamUnavailableError)
    health = issuers.health("ci")
    assert (health.count, health.read_at, health.failed_at) == (1, clock() - 601, clock())
    assert (health.failure or "").startswith(NAME)
    issuer.answers.clear()
    clock.advance(10)
    await issuers.verify("ci", issuer.token())
    assert issuers.health("ci") == replace(health, read_at=clock())


async def test_what_is_known_of_keys_that_were_never_read(
    issuer: SigningIssuer, issuers: Issuers, clock: Clock
) -> None:
    """Nothing; a failure and a success are told with their times."""
    assert issuers.health("ci") == KeysHealth(count=0)
    issuer.answers[JWKS] = refuse
    with pytest.raises(UpstreamUnavailableError):
        await issuers.algorithms("ci")
    first = KeysHealth(count=0, failed_at=clock(), failure=f"{NAME} cannot be reached")
    assert issuers.health("ci") == first
    issuer.answers.clear()
    clock.advance(1)
    assert await issuers.algorithms("ci") == {"ES256"}
    assert issuers.health("ci") == replace(first, count=1, read_at=clock())


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b" " * 65_536


def document(**changes: Any) -> Answer:
    return respond(200, json={"issuer": URL, "jwks_uri": f"{URL}{JWKS}"} | changes)


NO_HTTPS = f"{NAME} has a discovery document whose jwks_uri is no https URL"
NO_DOCUMENT = f"{NAME} returned an unexpected response (expected: its discovery document)"
NO_KEYS = f"{NAME} returned an unexpected response (expected: signing keys)"
ANOTHER = f"{NAME} has a discovery document of another issuer than its url"
TOO_MUCH = f"{NAME} returned a response of more than 524288 bytes"


@pytest.mark.parametrize(
    ("path", "answer", "says"),
    [
        (DISCOVERY, document(issuer="https://attacker.example.com"), ANOTHER),
        (DISCOVERY, document(issuer=f"{URL}/"), ANOTHER),
        (DISCOVERY, document(issuer=[URL]), ANOTHER),
        (DISCOVERY, respond(200, json={"jwks_uri": f"{URL}{JWKS}"}), ANOTHER),
        (DISCOVERY, respond(200, json={"issuer": URL}), NO_HTTPS),
        (DISCOVERY, document(jwks_uri=5), NO_HTTPS),
        (DISCOVERY, document(jwks_uri="http://issuer.example.com/jwks"), NO_HTTPS),
        (DISCOVERY, document(jwks_uri="file:///etc/passwd"), NO_HTTPS),
        (DISCOVERY, document(jwks_uri="https://user:password@issuer.example.com/jwks"), NO_HTTPS),
        (DISCOVERY, document(jwks_uri="http://localhost.example.com/jwks"), NO_HTTPS),
        (DISCOVERY, document(jwks_uri="https://issuer.example.com:65536/jwks"), NO_HTTPS),
        (DISCOVERY, document(jwks_uri="https://issuer.example.com\\@127.0.0.1/jwks"), NO_HTTPS),
        (DISCOVERY, document(jwks_uri="http://127.0.0.1/jwks"),
         f"{NAME} has a discovery document whose jwks_uri is on this machine"),
        (DISCOVERY, respond(200, json=[]), NO_DOCUMENT),
        (DISCOVERY, respond(404, json={"issuer": URL, "jwks_uri": f"{URL}{JWKS}"}),
         f"{NAME} returned status 404 (expected: its discovery document)"),
        (DISCOVERY, respond(200, text="<html>"), NO_DOCUMENT),
        (JWKS, respond(403, json={"keys": []}), f"{NAME} returned status 403 (expected: signing keys)"),
        (JWKS, respond(200, json={"keys": {}}), NO_KEYS),
        (JWKS, respond(200, json=[]), NO_KEYS),
        (JWKS, respond(200, json={"keys": [{"kty": "oct", "kid": "key-1", "k": "AAAA"}]}),
         f"{NAME} publishes signing keys of kinds that this service does not know"),
        *((path, respond(302, headers={"Location": "https://attacker.example.com/"}),
           f"{NAME} redirects (status 302); its address must lead to {NAME} without a sign-in")
          for path in (DISCOVERY, JWKS)),
        *((path, respond(200, content=b"[" * 524_289), TOO_MUCH) for path in (DISCOVERY, JWKS)),
        *((path, lambda _: httpx.Response(200, content=endless()), TOO_MUCH) for path in (DISCOVERY, JWKS)),
    ],
)  # fmt: skip
async def test_what_an_issuer_may_not_answer(
    issuer: SigningIssuer, issuers: Issuers, path: str, answer: Answer, says: str
) -> None:
    """It is the issuer's fault, no token's; no other address is asked, and no more read than a set of keys needs."""
    issuer.answers[path] = answer
    error = await failed(issuers, issuer.token())
    assert (type(error), error.message) == (UpstreamFaultError, says)
    assert set(issuer.seen) <= {f"{URL}{DISCOVERY}", f"{URL}{JWKS}"}


async def test_an_issuer_on_this_machine(clock: Clock) -> None:
    """It may have its keys there, too."""
    issuer = SigningIssuer(clock, "http://127.0.0.1:7090")
    await issuers_of(issuer).verify("ci", issuer.token())
    assert issuer.seen[-1] == f"http://127.0.0.1:7090{JWKS}"


async def test_an_issuer_that_never_ends(issuer: SigningIssuer, clock: Clock) -> None:
    """The deadline of calls ends the wait."""
    way = Holding(issuer)
    way.held = {JWKS}
    row = Issuer(name="ci", url=URL, audience=AUDIENCE)
    issuers = Issuers([row], timeouts=Timeouts(deadline=0.05), now=clock, transport=way, sleep=no_sleep)
    assert isinstance(await failed(issuers, issuer.token()), UpstreamTimeoutError)


async def test_a_crowd(issuer: SigningIssuer, issuers: Issuers) -> None:
    """A hundred pipelines that begin at once share one fetch."""
    await asyncio.gather(*(issuers.verify("ci", issuer.token(jti=str(number))) for number in range(100)))
    assert len(issuer.seen) == 2


@pytest.mark.parametrize("key", [RSA, ECKey.generate_key("P-256")], ids=["RS256", "ES256"])
@pytest.mark.parametrize("is_inline", [False, True], ids=["published", "inline"])
async def test_a_token_that_names_no_key(clock: Clock, key: Any, *, is_inline: bool) -> None:
    """It is of the only key for its algorithm, beside which there may be others; of several it is nobody's."""
    issuer = SigningIssuer(clock, key=key)
    token = signed({"alg": issuer.algorithm}, issuer.claims(), key, issuer.algorithm)
    of_another_kind = {**ECKey.generate_key("P-384").as_dict(private=False), "kid": "other"}
    more = type(key).generate_key(2048 if key is RSA else "P-256")
    of_its_kind = {**more.as_dict(private=False), "kid": "more"}
    for others, is_taken in [([], True), ([of_another_kind], True), ([of_its_kind], False)]:
        jwks = {"keys": [*others, *issuer.jwks["keys"]]}
        issuer.answers = {JWKS: respond(200, json=jwks)}
        issuers = issuers_of(issuer, **({"jwks": KeySource(inline=jwks)} if is_inline else {}))
        if is_taken:
            assert (await issuers.verify("ci", token)).subject == SUBJECT
        else:
            assert "has no kid" in await refused(issuers, token)
        await issuers.verify("ci", issuer.token())


async def test_a_rotation_that_no_kid_shows(issuer: SigningIssuer, issuers: Issuers, clock: Clock) -> None:
    """A signature that is not that of the known key has the keys read again, as a kid does that is not known."""

    def token() -> str:
        return signed({"alg": "ES256"}, issuer.claims(), issuer.key, "ES256")

    before = token()
    await issuers.verify("ci", before)
    issuer.rotate()
    assert isinstance(await failed(issuers, token()), UpstreamUnavailableError)
    clock.advance(10)
    assert (await issuers.verify("ci", token())).subject == SUBJECT
    clock.advance(100)
    assert "has no kid" in await refused(issuers, before)


async def test_made_up_signatures(issuer: SigningIssuer, issuers: Issuers, clock: Clock) -> None:
    """Without a kid, too, they cause a fetch in ten seconds, and disturb nobody."""
    await issuers.verify("ci", issuer.token())
    for _ in range(200):
        clock.advance(0.1)
        made_up = signed({"alg": "ES256"}, issuer.claims(), ECKey.generate_key("P-256"), "ES256")
        with pytest.raises(Exception, match="The token"):
            await issuers.verify("ci", made_up)
        await issuers.verify("ci", issuer.token())
    assert len(issuer.seen) <= 2 * (1 + 2)


async def test_made_up_keys(issuer: SigningIssuer, issuers: Issuers, clock: Clock) -> None:
    """Who makes up tokens of this moment causes a fetch in ten seconds, and disturbs nobody whose key is known."""
    await issuers.verify("ci", issuer.token())
    for number in range(200):
        clock.advance(0.1)
        made_up = issuer.signed(issuer.header(kid=f"made-up-{number}"), issuer.claims())
        with pytest.raises(Exception, match="The token"):
            await issuers.verify("ci", made_up)
        await issuers.verify("ci", issuer.token())
    assert len(issuer.seen) <= 2 * (1 + 2)


async def test_what_is_no_token_of_the_issuer_costs_it_nothing(issuer: SigningIssuer, issuers: Issuers) -> None:
    """Nothing is fetched for what its own words rule out."""
    for changes in ({"iss": "https://another.example.com"}, {"aud": "vault"}, {"exp": 1}):
        await refused(issuers, issuer.token(**changes))
    assert issuer.seen == []


async def test_each_issuer_has_its_own_keys(clock: Clock) -> None:
    """A token of one is none of another, also if the other has the same audience and the same kid."""
    one, two = SigningIssuer(clock, URL), SigningIssuer(clock, "https://two.example.com")
    rows = {"one": one, "two": two}.items()
    settings = [Issuer(name=name, url=at.url, audience=AUDIENCE, jwks=KeySource(inline=at.jwks)) for name, at in rows]
    issuers = Issuers(settings, timeouts=Timeouts(), now=clock)
    assert (await issuers.verify("two", two.token())).issuer == "two"
    with pytest.raises(Exception, match="cannot be verified"):
        await issuers.verify("one", two.token())
    with pytest.raises(Exception, match="cannot be verified"):
        await issuers.verify("two", signed(one.header(), two.claims(), one.key, one.algorithm))
    with pytest.raises(KeyError):
        await issuers.verify("three", one.token())


class OverTheNetwork:
    """An issuer that is served on a port of its own, and the issuers of settings that ask it."""

    def __init__(self, port: int, clock: Clock, ca_file: str | None) -> None:
        self.issuer = SigningIssuer(clock, f"https://127.0.0.1:{port}")
        row = Issuer(name="ci", url=self.issuer.url, audience=AUDIENCE, ca_file=ca_file)
        self.issuers = Issuers([row], timeouts=Timeouts(), now=clock, sleep=no_sleep)


@asynccontextmanager
async def over_the_network(folder: Path, clock: Clock, *, ca_file: str | None) -> AsyncIterator[OverTheNetwork]:
    """`ca_file` is what the settings say."""
    chain, key = Authority(folder).issue()
    port = free_port()
    there = OverTheNetwork(port, clock, ca_file)

    async def answer(request: Request) -> Response:
        response = await there.issuer.handle_async_request(
            httpx.Request("GET", f"{there.issuer.url}{request.url.path}")
        )
        return Response(response.content, response.status_code, dict(response.headers))

    app = Starlette(routes=[Route("/{path:path}", answer)])
    async with serving(app, port=port, ssl_certfile=chain, ssl_keyfile=key):
        yield there


async def test_an_authority_of_its_own(tmp_path: Path, clock: Clock) -> None:
    """`caFile`, as for Kubernetes, whose API server has a certificate of the cluster. It is read for each set."""
    async with over_the_network(tmp_path, clock, ca_file=str(tmp_path / "ca.pem")) as there:
        assert (await there.issuers.verify("ci", there.issuer.token())).subject == SUBJECT
        there.issuer.rotate()
        clock.advance(10)
        (tmp_path / "ca.pem").rename(tmp_path / "elsewhere.pem")
        error = await failed(there.issuers, there.issuer.token())
        assert isinstance(error, UpstreamUnavailableError)
        assert there.issuers.health("ci").failure == f"The file with the authorities for {NAME} cannot be read"
        (tmp_path / "elsewhere.pem").rename(tmp_path / "ca.pem")
        clock.advance(10)
        await there.issuers.verify("ci", there.issuer.token())


@pytest.mark.parametrize("content", [None, "", "no certificate"])
async def test_a_file_of_authorities_that_cannot_be_read(tmp_path: Path, clock: Clock, content: str | None) -> None:
    """It is missing, empty or no certificate: that is said, and the system's authorities do not step in."""
    file = tmp_path / "authorities.pem"
    if content is not None:
        file.write_text(content)
    async with over_the_network(tmp_path, clock, ca_file=str(file)) as there:
        error = await failed(there.issuers, there.issuer.token())
        assert error.message == f"The file with the authorities for {NAME} cannot be read"


async def test_only_its_own_authorities(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `caFile` the system's are asked, and with it nobody else: not even an authority that the system has."""
    (folder := tmp_path / "another").mkdir()
    other = Authority(folder)
    async with over_the_network(tmp_path, clock, ca_file=None) as there:
        error = await failed(there.issuers, there.issuer.token())
        assert error.message == f"{NAME}'s certificate is not trusted: unable to get local issuer certificate"
    async with over_the_network(tmp_path, clock, ca_file=str(other.ca)) as there:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert "is not trusted" in (await failed(there.issuers, there.issuer.token())).message


async def test_a_huge_answer_over_the_network(tmp_path: Path, clock: Clock) -> None:
    """It is not read to its end."""
    async with over_the_network(tmp_path, clock, ca_file=str(tmp_path / "ca.pem")) as there:
        there.issuer.answers[JWKS] = respond(200, content=b" " * 5_000_000)
        assert (await failed(there.issuers, there.issuer.token())).message == TOO_MUCH
