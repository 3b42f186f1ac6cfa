"""What ends a command, and with which exit code; tools decide by it.

CommandError 1
├── SignInFirstError 2
├── RefusedError 3
└── UnreachableError 4
"""

from __future__ import annotations

import click


class CommandError(click.ClickException):
    """Something on this machine, such as a folder that cannot be written. The message is a sentence for people."""

    def show(self, file: object = None) -> None:  # noqa: ARG002  # click's signature
        """Prints the sentence on stderr, where no tool takes it for a key."""
        click.echo(f"litellm-key: {self.message}", err=True)


class SignInFirstError(CommandError):
    """Nobody is signed in here, or the session has ended. Asking again does not help."""

    exit_code = 2


class RefusedError(CommandError):
    """The service understood, and said no. `error` is OAuth's code."""

    exit_code = 3

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class UnreachableError(CommandError):
    """No answer, or none of the service's own. Asking again later may help.

    `retry_after`: the seconds that the service asked for, if it did.
    """

    exit_code = 4

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
