"""Networks as companies have them: a certificate authority of their own, and proxies."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from clients.exchange import NetworkExchange
from domain.errors import UpstreamFaultError, UpstreamUnavailableError
from settings.model import Timeouts
from standalone.backstage import BackstageStandIn
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from tests.support.certificates import Authority
from tests.support.findings import other_lines
from tests.support.processes import listening, output
from tests.support.raw_http import serving


async def checked(folder: Path, certificate: tuple[str, str], *, imports: bool = False, **environment: str) -> str:
    """What `check` prints about a LiteLLM and a Backstage with this certificate."""
    files: dict[str, Any] = {"ssl_certfile": certificate[0], "ssl_keyfile": certificate[1]}
    async with serving(LiteLLMStandIn().app, **files) as litellm, serving(BackstageStandIn().app, **files) as backstage:
        config = folder / "app-config.yaml"
        config.write_text(
            f"""
            liteLLM:
              baseUrl: https://127.0.0.1:{litellm}
              masterKey: {MASTER_KEY}
              adminGroup: admins
              allowedGroup: litellm-users
            backend: {{baseUrl: 'https://127.0.0.1:{backstage}'}}
            litellmOrchestrator: {{database: {{url: 'sqlite:///{folder}/state.sqlite3'}}}}
            """
        )
        _, printed = await output("check", "--config", str(config), imports=imports, variables=environment)
    return printed


async def test_a_private_authority_is_trusted_by_ssl_cert_file(tmp_path: Path) -> None:
    """As Python, curl and the rest of the platform have it."""
    authority = Authority(tmp_path)
    printed = await checked(tmp_path, authority.issue(), imports=True, SSL_CERT_FILE=str(authority.ca))
    assert "ok       LiteLLM:" in printed
    assert "ok       Backstage's signing keys:" in printed
    assert "ok       Backstage's clock:" in printed
    assert other_lines(printed) == []


@pytest.mark.parametrize(
    ("address", "days", "trusts_authority", "reason"),
    [
        ("127.0.0.1", 30, False, "unable to get local issuer certificate"),
        ("127.0.0.1", -1, True, "certificate has expired"),
        ("127.0.0.2", 30, True, "IP address mismatch"),
    ],
)
async def test_a_certificate_error_says_which_peer_and_why(
    tmp_path: Path, address: str, days: int, trusts_authority: bool, reason: str
) -> None:
    """An unknown authority, an expired certificate, one for another host."""
    authority = Authority(tmp_path)
    trusted = str(authority.ca) if trusts_authority else "/nowhere"
    printed = await checked(tmp_path, authority.issue(address, days), SSL_CERT_FILE=trusted)
    assert f"failed   LiteLLM: LiteLLM's certificate is not trusted: {reason}\n" in printed
    for subject in ("signing keys", "clock"):
        assert f"Backstage's {subject}: Backstage's certificate is not trusted: {reason}\n" in printed


def certified(folder: Path, certificate: str, key: str) -> str:
    """The file of settings with a certificate and key from these files."""
    config = folder / "app-config.yaml"
    config.write_text(
        f"""
        liteLLM: {{baseUrl: 'http://127.0.0.1:9', masterKey: {MASTER_KEY}, adminGroup: a, allowedGroup: b}}
        backend:
          baseUrl: http://127.0.0.1:9
          listen: 127.0.0.1:0
          https: {{certificate: {{cert: {{$file: {certificate}}}, key: {{$file: {key}}}}}}}
        litellmOrchestrator: {{database: {{url: 'sqlite:///{folder}/state.sqlite3'}}}}
        """
    )
    return str(config)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_service_has_tls_of_its_own(tmp_path: Path, workers: str) -> None:
    """Backstage's `backend.https`. The key is not readable by others, and gone at the end."""
    authority = Authority(tmp_path)
    config = certified(tmp_path, *authority.issue())
    (tmp_path / "tmp").mkdir()
    arguments = ["serve", "--config", config, "--workers", workers]
    async with listening(*arguments, TMPDIR=str(tmp_path / "tmp")) as running:
        trust = ssl.create_default_context(cafile=str(authority.ca))
        async with httpx.AsyncClient(base_url=f"https://127.0.0.1:{running.port}", verify=trust) as client:
            assert (await client.get("/.backstage/health/v1/liveness")).json() == {"status": "ok"}
        [folder] = (tmp_path / "tmp").iterdir()
        assert folder.stat().st_mode & 0o077 == 0
    assert running.process.returncode == 0
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_a_certificate_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    """Another certificate's key, or what is no PEM."""
    certificate, _ = Authority(tmp_path).issue()
    other = tmp_path / "other"
    other.mkdir()
    _, key = Authority(other).issue()
    for wrong, reason in ((key, "KEY_VALUES_MISMATCH"), (__file__, "it is not in PEM")):
        code, printed = await output("serve", "--config", certified(tmp_path, certificate, wrong))
        assert code == 1
        assert printed == f"The certificate of backend.https cannot be used with its key: {reason}\n"


@asynccontextmanager
async def proxy() -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy that answers 204 to everything, its address, and the first lines that arrived."""
    lines: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines.append(head.decode().splitlines()[0])
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", lines
    server.close()


@pytest.mark.parametrize("no_proxy", ["bücher.invalid", ".invalid"])
async def test_a_host_with_a_name_in_another_script_may_need_no_proxy(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str
) -> None:
    """By its name as people write it; one that begins with xn-- and is none cannot be reached in any way."""
    async with proxy() as (address, seen):
        monkeypatch.setenv("HTTP_PROXY", address)
        monkeypatch.setenv("NO_PROXY", no_proxy)
        for host in ("bücher.invalid", "xn--a.invalid") if no_proxy == ".invalid" else ("bücher.invalid",):
            exchange = NetworkExchange("LiteLLM", Timeouts())
            with pytest.raises(UpstreamUnavailableError):
                await exchange("GET", f"http://{host}/x", {}, None)
            await exchange.aclose()
    assert seen == []


async def test_a_proxy_is_used_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY and HTTPS_PROXY, but not for hosts in NO_PROXY."""
    async with proxy() as (address, seen), proxy() as (direct, seen_directly):
        monkeypatch.setenv("HTTP_PROXY", address)
        monkeypatch.setenv("HTTPS_PROXY", address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,internal")
        plain, encrypted, near = [NetworkExchange("LiteLLM", Timeouts()) for _ in range(3)]
        assert (await plain("GET", "http://litellm.example/x", {}, None)).status == 204
        with pytest.raises(UpstreamFaultError):  # a tunnel would be 200
            await encrypted("GET", "https://litellm.example/x", {}, None)
        assert (await near("GET", f"{direct}/x", {}, None)).status == 204
        for exchange in (plain, encrypted, near):
            await exchange.aclose()
    assert seen == ["GET http://litellm.example/x HTTP/1.1", "CONNECT litellm.example:443 HTTP/1.1"]
    assert seen_directly == ["GET /x HTTP/1.1"]
