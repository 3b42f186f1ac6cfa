"""A service and a LiteLLM on a real socket, as far as the command sees them: the wire of RFC 8628, 6749 and 7009."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from litellm_orchestrator_client.cli.clock import SystemClock

BASE = "/api/litellm-orchestrator"
_AGAIN = 30.0


class FakeClock:
    """Both clocks stand still until somebody sleeps or sets them."""

    def __init__(self) -> None:
        self.time, self.up, self.slept = 1_800_000_000.0, 5_000.0, list[float]()

    def wall(self) -> float:
        return self.time

    def uptime(self) -> float:
        return self.up

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passes(seconds)

    def passes(self, seconds: float) -> None:
        self.time += seconds
        self.up += seconds


class HastyClock(SystemClock):
    """The machine's own, for who waits for nobody."""

    sleep = staticmethod(lambda _: None)


@dataclass
class Ongoing:
    """A session: its newest refresh token, and the one before it with the answer that it got, and when."""

    owner: str
    refresh_token: str
    used: str = ""
    answer: dict[str, Any] = field(default_factory=dict)
    used_at: float = 0.0
    ended: bool = False


class StandIn(ThreadingHTTPServer):
    """`asked` lists the requests, `keys` the living keys with their sessions.

    `next_answers` are given before anything else is looked at, in turn: a status and a body (and the seconds after
    which to ask again), None for the usual one, a status alone for OAuth's error, "lost" for a connection that closes
    when everything was done, "lost" and a status for a proxy's page instead.
    """

    daemon_threads = True

    def __init__(self, clock: FakeClock | SystemClock | None = None, *, key_life: float = 43_200.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.clock, self.key_life = clock or SystemClock(), key_life
        self.owner, self.principal = "user:default/alice", "user:default/alice"
        self.sessions: dict[str, Ongoing] = {}
        self.keys: dict[str, str] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.next_answers: list[Any] = []
        self.polls: list[str] = []
        self.numbers, self.lock = count(1), Lock()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def service(self) -> str:
        return self.origin + BASE

    def asked_for(self, *grants: str) -> int:
        """How often somebody asked for one of these grants."""
        return sum(form.get("grant_type", "").rpartition(":")[2] in grants for _, form in self.asked)

    def granted(self, session_id: str) -> dict[str, Any]:
        session, number = self.sessions[session_id], next(self.numbers)
        session.refresh_token = f"refresh-{number}"
        self.keys[f"sk-{number}"] = session_id
        return {
            "access_token": f"sk-{number}", "token_type": "Bearer", "expires_in": int(self.key_life),
            "refresh_token": session.refresh_token, "refresh_token_expires_in": 2_592_000, "session_id": session_id,
            "principal": self.principal, "owner": session.owner, "litellm_url": self.origin,
        }  # fmt: skip

    def answer(self, name: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if name == "device_authorization":
            page = f"{self.origin}/console#/device"
            return 200, {
                "device_code": "secret-device-code", "user_code": "WDJB-MJHT", "verification_uri": page,
                "verification_uri_complete": f"{page}?code=WDJB-MJHT", "expires_in": 600, "interval": 5,
            }  # fmt: skip
        if name == "revoke":
            self._end(form["token"])
            return 200, {}
        grant = form["grant_type"].rpartition(":")[2]
        if grant == "device_code":
            if self.polls:
                return 400, {"error": self.polls.pop(0), "error_description": ""}
            session_id = f"session-{next(self.numbers)}"
            self.sessions[session_id] = Ongoing(self.owner, "")
            return 200, self.granted(session_id)
        if grant == "token-exchange":
            number = next(self.numbers)
            self.keys[f"sk-{number}"] = "a workload"
            return 200, {"access_token": f"sk-{number}", "expires_in": int(self.key_life)}
        return self._refreshed(form["refresh_token"])

    def _refreshed(self, token: str) -> tuple[int, dict[str, Any]]:
        now = self.clock.uptime()
        for session_id, session in self.sessions.items():
            if not session.ended and token == session.refresh_token:
                session.used, session.used_at = token, now
                session.answer = self.granted(session_id)
                return 200, session.answer
            if not session.ended and token == session.used:
                if now - session.used_at <= _AGAIN:
                    return 200, session.answer
                session.ended = True
        return 400, {"error": "invalid_grant", "error_description": "The session has ended"}

    def _end(self, token: str) -> None:
        for session_id, session in self.sessions.items():
            if token == session.refresh_token:
                session.ended = True
                self.keys = {key: owner for key, owner in self.keys.items() if owner != session_id}


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        form = {name: values[0] for name, values in parse_qs(text).items()}
        server, name = self.server, path.rpartition("/")[2]
        with server.lock:
            server.asked.append((path, form))
            planned = server.next_answers.pop(0) if server.next_answers else None
            if isinstance(planned, int):
                wait = 7 if planned in {429, 503} else None
                self._send(planned, {"error": "temporarily_unavailable", "error_description": "busy"}, wait)
                return
            if isinstance(planned, tuple) and planned[0] != "lost":
                self._send(*planned)
                return
            status, body = server.answer(name, form)
        if planned == "lost":
            self.close_connection = True
            return
        if planned is not None:
            self._send(planned[1], b"<html>Bad Gateway")
            return
        self._send(status, body)

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.path.startswith("/v1/") and key in self.server.keys:
            self._send(200, {"data": [{"id": "gpt-fake"}, {"id": "claude-fake"}]})
        elif self.path.startswith("/job-token"):
            self._send(200, {"value": "the.jobs.token"})
        else:
            self._send(401, {"error": {"message": "Authentication Error", "type": "auth_error", "code": "401"}})

    def _send(self, status: int, body: Any, retry_after: int | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running(standin: StandIn) -> Iterator[StandIn]:
    """Until it is left, it listens."""
    thread = Thread(target=standin.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield standin
    finally:
        standin.shutdown()
        standin.server_close()
        thread.join()
