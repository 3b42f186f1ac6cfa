"""Authorities and proxies of a company, by the variables that other programs take as well."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from .conftest import Laptop
from .standin import FakeClock, StandIn, running

_AUTHORITY = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2 -subj /CN=Company "
    "-addext subjectAltName=IP:127.0.0.1 -addext keyUsage=critical,keyCertSign,digitalSignature "
    "-keyout server.key -out authority.pem"
)


@pytest.fixture(autouse=True)
def _default_authorities(_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless a test names others."""
    monkeypatch.delenv("SSL_CERT_DIR")


@pytest.fixture
def authorities(tmp_path: Path) -> Path:
    """A folder with the certificate `authority.pem`, as OpenSSL looks for it."""
    folder = tmp_path / "authorities"
    folder.mkdir()
    subprocess.run(_AUTHORITY.split(), cwd=folder, capture_output=True, check=True)
    subprocess.run(["openssl", "rehash", "."], cwd=folder, capture_output=True, check=True)
    return folder


@pytest.fixture
def encrypted(authorities: Path, clock: FakeClock) -> Iterator[StandIn]:
    """A service with a certificate of the company."""
    standin = StandIn(clock)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authorities / "authority.pem", authorities / "server.key")
    standin.socket = context.wrap_socket(standin.socket, server_side=True)
    with running(standin):
        yield standin


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SSL_CERT_FILE", "authority.pem"),
        ("SSL_CERT_DIR", ""),
        ("REQUESTS_CA_BUNDLE", "authority.pem"),
        ("REQUESTS_CA_BUNDLE", ""),
    ],
)
def test_an_authority_of_the_company(
    laptop: Laptop, encrypted: StandIn, authorities: Path, monkeypatch: pytest.MonkeyPatch, *, variable: str, value: str
) -> None:
    """Signing in, a renewal, signing out; without the variable the sentence names one."""
    address = f"https://127.0.0.1:{encrypted.server_port}"
    said = laptop("login", address, code=4).stderr
    assert "a certificate that this machine does not trust: set SSL_CERT_FILE" in said
    monkeypatch.setenv(variable, str(authorities / value))
    laptop("login", address)
    laptop.clock.passes(43_200)
    assert laptop.key() == "sk-3"
    laptop("logout")
    assert encrypted.sessions["session-1"].ended


class _Proxy(BaseHTTPRequestHandler):
    """`CONNECT`, to the service whatever the name. `server.asked` lists the names."""

    server: Tunnels

    def do_CONNECT(self) -> None:
        self.server.asked.append(self.path)
        with socket.create_connection(("127.0.0.1", self.server.behind)) as behind:
            self.send_response(200)
            self.end_headers()
            back = Thread(target=_pass_on, args=(behind, self.connection), daemon=True)
            back.start()
            _pass_on(self.connection, behind)
            back.join()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Tunnels(ThreadingHTTPServer):
    """A proxy in front of the service at the port `behind`."""

    daemon_threads = True

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), _Proxy)
        self.behind, self.asked = behind, list[str]()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_for_https(
    laptop: Laptop, encrypted: StandIn, authorities: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Every connection goes through it, encrypted to the service; `NO_PROXY` leaves it out."""
    proxy = Tunnels(encrypted.server_port)
    Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.server_port}")
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities / "authority.pem"))
    try:
        laptop("login", "https://127.0.0.1:1")
        assert set(proxy.asked) == {"127.0.0.1:1"}
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        laptop("login", "https://127.0.0.1:1", code=4)
    finally:
        proxy.shutdown()
        proxy.server_close()


def test_a_proxy_for_http(laptop: Laptop, service: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only it knows the name of the service."""
    monkeypatch.setenv("HTTP_PROXY", service.origin)
    said = laptop("login", "http://portal.invalid", "--allow-http").stderr
    assert "Signed in at http://portal.invalid/api/litellm-orchestrator" in said
