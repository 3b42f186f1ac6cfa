"""Signing in (RFC 8628): the person approves on the console, and this waits."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import click

from .clock import Clock, Moment
from .errors import RefusedError, SignInFirstError, UnreachableError
from .wire import DeviceCode, Grant, Wire

_SLOW_DOWN = 5.0
_LONGEST_PAUSE = 60.0


def device_name() -> str:
    """The name of this machine, as the console shows it."""
    return "".join(character for character in socket.gethostname() if " " <= character <= "~")[:64] or "unnamed"


@dataclass(frozen=True, slots=True)
class Approval:
    """Waits until somebody has decided."""

    wire: Wire
    clock: Clock

    def wait(self, code: DeviceCode) -> Grant:
        """Returns what was approved. Raises RefusedError, and SignInFirstError if nobody decided in time.

        An outage of the service while it waits is no reason to give up: pauses double, as RFC 8628 says in 3.5.
        """
        began, interval, pause = Moment.now(self.clock), code.interval, code.interval
        while (began.age(self.clock) or 0.0) < code.expires_in:
            self.clock.sleep(pause)
            try:
                return self.wire.poll(code.device_code)
            except UnreachableError as error:
                pause = min(_LONGEST_PAUSE, max(pause * 2, error.retry_after or 0))
                continue
            except RefusedError as error:
                if error.error == "slow_down":
                    interval += _SLOW_DOWN
                elif error.error == "access_denied":
                    raise RefusedError(error.error, "It was refused on the page. Nothing is signed in.") from error
                elif error.error in {"expired_token", "invalid_grant"}:
                    break
                elif error.error != "authorization_pending":
                    raise
            pause = interval
        raise SignInFirstError("Nobody approved it in time. Begin again: litellm-key login")


def show(code: DeviceCode, *, opened: bool) -> None:
    """Says where to approve what. On stderr, like everything that is no answer."""
    if opened:
        click.echo("A page opens in your browser. If it does not, open:", err=True)
    else:
        click.echo("Open this page in a browser, on any machine:", err=True)
    click.echo(
        f"\n  {code.verification_uri}\n\nand enter this code, or compare it if the page shows one already:"
        f"\n\n  {code.user_code}\n",
        err=True,
    )
    click.echo(f"Waiting for your approval, for {code.expires_in / 60:.0f} minutes at most.", err=True)
