"""The commands, as a person types them. What they do is in the modules beside this one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from .environment import as_shell, variables
from .errors import CommandError, SignInFirstError, UnreachableError
from .machine import Machine
from .renewal import in_words
from .session import Session, Tokens
from .store import IN_KEYRING, LockedError

_EXIT_CODES = """
\b
Exit codes: 0 done · 2 sign in first · 3 the service refused · 4 the service cannot be reached
            1 anything else, such as a folder that cannot be written or a wrong option
"""
_CANNOT_RUN, _NO_PROGRAM = 126, 127
_TOOLS = ("claude-code", "codex", "opencode")
F = TypeVar("F", bound=Callable[..., Any])


def _which(command: F) -> F:
    """The options of every command that means one session."""
    of_owner = click.option(
        "--for", "owner", metavar="OWNER", help="The session for this owner, as group:default/shop."
    )
    at_service = click.option("--service", metavar="URL", help="The session at this service. Else the last sign-in.")
    return at_service(of_owner(command))


class _Commands(click.Group):
    """A wrong option is exit code 1: click's own is 2, which tells a tool that somebody must sign in."""

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """For `litellm-key` itself."""
        with _mistyped():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """For its commands."""
        with _mistyped():
            return super().invoke(ctx)


@contextmanager
def _mistyped() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        error.show()
        raise click.exceptions.Exit(1) from error


@click.group(cls=_Commands, epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="litellm-orchestrator-client", prog_name="litellm-key")
@click.pass_context
def cli(context: click.Context) -> None:
    """A LiteLLM key that looks after itself.

    Sign in once with `litellm-key login`. From then on `litellm-key token` prints a key that works, and renews it
    before it ends; `litellm-key configure` makes a tool ask for it.
    """
    context.ensure_object(Machine)


@cli.command(epilog=_EXIT_CODES)
@click.argument("url", metavar="URL")
@click.option("--no-browser", is_flag=True, help="Only print the address and the code.")
@click.option("--no-keyring", is_flag=True, help="Keep the secrets in a file of yours, not in the keyring.")
@click.option("--allow-http", is_flag=True, help="Take an address that is not encrypted.")
@click.pass_obj
def login(machine: Machine, url: str, *, no_browser: bool, no_keyring: bool, allow_http: bool) -> None:
    """Sign this machine in.

    URL is the service's address, such as https://portal.example.com. You approve it in a browser, here or on another
    machine, where you are signed in with Backstage, and choose there whose keys these shall be.
    """
    from importlib.metadata import version

    from .signin import Approval, device_name, show
    from .wire import service_url

    service, store = service_url(url, allow_http=allow_http), machine.store()
    store.prepare()
    wire = machine.wire(service)
    code = wire.device_code(device_name(), f"litellm-key {version('litellm-orchestrator-client')}")
    opened = machine.has_browser and not no_browser and machine.open_page(code.verification_uri_complete)
    show(code, opened=opened)
    grant = Approval(wire, machine.clock).wait(code)
    session = Session(service, grant.principal, grant.owner, grant.session_id, machine.clock.wall())
    try:
        with store.locked(session):  # a renewal of the old session would write over the new one
            for old in [old for old in store.list() if old.name == session.name]:
                if error := _revoke(machine, old):
                    said = f"{error.message.rstrip('.')}. The earlier sign-in goes on: end it on the console."
                    click.echo(f"litellm-key: {said}", err=True)
                store.remove(old)
            session, why = store.add(session, grant.tokens, use_keyring=not no_keyring)
    except BaseException:  # nobody else has its secrets, with which the service would let it go on
        with suppress(CommandError):
            wire.revoke(grant.tokens.refresh_token)
        raise
    click.echo(f"Signed in at {service} as {session.principal}, with keys of {session.owner}.", err=True)
    where = IN_KEYRING if session.kept_in == IN_KEYRING else f"{session.kept_in}, which only you can read"
    click.echo(f"The secrets are in {where}." + (f" (The keyring: {why}.)" if why else ""), err=True)
    click.echo("Next: litellm-key configure claude-code, or litellm-key exec -- your-program", err=True)


def _revoke(machine: Machine, session: Session) -> CommandError | None:
    """Ends it at the service, unless it has ended there. Returns what went wrong, if anything."""
    if session.ended:
        return None
    try:
        machine.wire(session.service).revoke(machine.store().tokens(session).refresh_token)
    except LockedError as error:
        return error
    except SignInFirstError:
        return CommandError(f"The secrets of the session at {session.service} cannot be read")
    except CommandError as error:
        return error
    return None


@cli.command(epilog=_EXIT_CODES)
@_which
@click.option("--all", "everything", is_flag=True, help="Sign out everywhere.")
@click.pass_obj
def logout(machine: Machine, service: str | None, owner: str | None, *, everything: bool) -> None:
    """Sign out.

    Ends the session at the service, with its keys, and forgets its secrets here.
    """
    sessions = machine.store().list() if everything else [machine.choose(service, owner)]
    wrong: list[CommandError] = []
    for session in sessions:
        with machine.store().locked(session):
            error = _revoke(machine, session)
            if isinstance(error, LockedError):
                wrong.append(error)
                continue
            machine.store().remove(session)
        click.echo(f"Signed out at {session.service} for {session.owner}.", err=True)
        if error:
            said = f"{error.message.rstrip('.')}. Nothing is kept here, but end the session on the console too."
            wrong.append(UnreachableError(said))
    for error in wrong[1:]:
        error.show()
    if wrong:
        raise wrong[0]


@cli.command(epilog=_EXIT_CODES)
@_which
@click.pass_obj
def token(machine: Machine, service: str | None, owner: str | None) -> None:
    """Print the key, and nothing else. For tools: it never asks and never opens a browser.

    The key is renewed before it ends, by one process for all. While the service cannot be reached, a key that still
    works is printed.
    """
    click.echo(_tokens(machine, service, owner).key)


def _tokens(machine: Machine, service: str | None, owner: str | None, *, for_long: bool = False) -> Tokens:
    return machine.renewal().tokens(machine.choose(service, owner), for_long=for_long)


def _addressed(tokens: Tokens) -> Tokens:
    """Raises CommandError if nobody said where LiteLLM is."""
    if not tokens.litellm_url:
        raise CommandError("The service does not say where LiteLLM is. Its operator sets liteLLM.publicUrl.")
    return tokens


@cli.command(epilog=_EXIT_CODES)
@_which
@click.option("--shell", type=click.Choice(["sh", "fish", "powershell"]), default="sh", help="sh: also bash, zsh.")
@click.pass_obj
def env(machine: Machine, service: str | None, owner: str | None, shell: str) -> None:
    """Print the key and addresses for a shell.

    Use it as eval "$(litellm-key env)". They set OPENAI_API_KEY, OPENAI_BASE_URL, ANTHROPIC_AUTH_TOKEN,
    ANTHROPIC_BASE_URL and LITELLM_API_KEY. The key does not renew itself there.
    """
    click.echo(as_shell(variables(_addressed(_tokens(machine, service, owner, for_long=True))), shell))


@cli.command("exec", epilog=_EXIT_CODES, context_settings={"allow_interspersed_args": False})
@_which
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def exec_(machine: Machine, service: str | None, owner: str | None, command: tuple[str, ...]) -> None:
    """Run a program with the key.

    Such as: litellm-key exec -- python app.py. It has the variables of `litellm-key env`. Its exit code is the
    program's; 127 if there is no such program, and 126 if it cannot be run.
    """
    environment = {**machine.environ, **variables(_addressed(_tokens(machine, service, owner, for_long=True)))}
    program = shutil.which(command[0], path=environment.get("PATH"))
    if program is None:
        click.echo(f"litellm-key: there is no program {command[0]}", err=True)
        sys.exit(_NO_PROGRAM)
    try:
        _become(program, command, environment)
    except OSError as error:
        click.echo(f"litellm-key: {program} cannot be run ({error.strerror})", err=True)
        sys.exit(_CANNOT_RUN)


def _become(program: str, command: tuple[str, ...], environment: dict[str, str]) -> NoReturn:
    """This process becomes the program, so that signals reach it. Windows cannot do that, and waits for it."""
    if sys.platform == "win32":
        import subprocess

        sys.exit(subprocess.run([program, *command[1:]], env=environment, check=False).returncode)  # noqa: S603  # its purpose
    os.execve(program, list(command), environment)  # noqa: S606  # its purpose


@cli.command(epilog=_EXIT_CODES)
@_which
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def whoami(machine: Machine, service: str | None, owner: str | None, *, as_json: bool) -> None:
    """Show the session that is used.

    It is the one that the other commands take with the same options. The service is not asked.
    """
    session = machine.choose(service, owner)
    row = _row(machine, session)
    if as_json:
        click.echo(json.dumps(row, indent=2))
    else:
        for name, text in row.items():
            click.echo(f"{name:<10} {text}")


@cli.command(epilog=_EXIT_CODES)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def sessions(machine: Machine, *, as_json: bool) -> None:
    """List what this machine is signed in to.

    The first one is used where nothing else is said.
    """
    rows = [_row(machine, session) for session in machine.store().list()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("Nobody is signed in here: litellm-key login https://…", err=True)
    for row in rows:
        click.echo(
            f"{row['service']}\n  " + "\n  ".join(f"{name:<10} {row[name]}" for name in row if name != "service")
        )


def _row(machine: Machine, session: Session) -> dict[str, str]:
    """What may be shown of a session. Times are this machine's, as it reckons them."""
    row = {
        "service": session.service,
        "principal": session.principal,
        "owner": session.owner,
        "session": session.session_id,
    }
    if session.ended:
        return {**row, "state": session.ended}
    row["secrets"] = session.kept_in
    try:
        tokens = machine.store().tokens(session)
    except CommandError as error:
        return {**row, "state": error.message}
    remaining, age = tokens.remaining(machine.clock), tokens.received.age(machine.clock) or 0.0
    ends = datetime.fromtimestamp(machine.clock.wall() + tokens.session_life - age, UTC).astimezone()
    row["litellm"] = tokens.litellm_url or "unknown"
    row["key"] = f"works for {in_words(remaining)} more" if remaining > 0 else "is over, and renewed at the next use"
    return {**row, "until": f"{ends:%Y-%m-%d %H:%M %Z}, or longer if it is used"}


@cli.command(epilog=_EXIT_CODES)
@click.argument("tool", type=click.Choice(_TOOLS))
@_which
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--undo", is_flag=True, help="Take back what this command changed.")
@click.pass_obj
def configure(
    machine: Machine, tool: str, service: str | None, owner: str | None, *, dry_run: bool, undo: bool
) -> None:
    """Make a tool ask `litellm-key token`.

    It writes the tool's settings for you; everything else in them stays as it is. --dry-run shows what it would write.
    """
    from .configure import TOOLS, Call, configure_tool, undo_tool

    if undo:
        said = undo_tool(TOOLS[tool], machine, dry_run=dry_run)
    else:
        session = machine.choose(service, owner)
        tokens = _addressed(machine.renewal().tokens(session))
        call = Call(_program(machine), session.service, session.owner if owner else None, tokens)
        said = configure_tool(TOOLS[tool], machine, call, dry_run=dry_run)
    for line in said:
        click.echo(line)


def _program(machine: Machine) -> str:
    """How tools find this command: its full path, since a tool that a desktop starts has another PATH."""
    found = shutil.which("litellm-key", path=machine.environ.get("PATH"))
    return os.path.abspath(found or sys.argv[0])  # noqa: PTH100  # resolve() would leave the folder of a tool's installer


@cli.command(epilog=_EXIT_CODES)
@click.argument("rule", metavar="RULE")
@click.option("--service", metavar="URL", help="The service. Else LITELLM_KEY_SERVICE.")
@click.option("--token-file", metavar="FILE", help="The workload's own token; - is stdin.")
@click.option("--audience", default="litellm-orchestrator", show_default=True, help="The issuer's, in the rules.")
@click.option("--to", "target", metavar="FILE", type=click.Path(path_type=Path), help="Write the key to this file.")
@click.option("--watch", "watching", is_flag=True, help="Keep the file fresh until this is stopped.")
@click.pass_obj
def exchange(  # noqa: PLR0917  # click passes them by name
    machine: Machine, rule: str, service: str | None, token_file: str | None, audience: str, target: Path | None, *,
    watching: bool,
) -> None:  # fmt: skip
    """Get a key for a pipeline or a pod.

    Exchanges its own OpenID token for a key of minutes, by the rule RULE of the service; nobody signs in. In a job of
    GitHub Actions or GitLab CI the token is found without --token-file.
    """
    from .workload import token_source, watch, write_key

    if watching and target is None:
        raise click.UsageError("--watch needs --to FILE")
    if watching and token_file == "-":  # noqa: S105  # stdin
        raise click.UsageError("--watch needs a file of the token that it can read again, not stdin")
    source = token_source(machine.environ, audience, token_file, machine.transport)
    wire = machine.wire(machine.named_service(service))
    if target is not None and watching:
        # Without it, the first process of a container would not be stopped by it.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            watch(lambda: wire.exchange(rule, source()), target, machine.clock)
        return
    key, life = wire.exchange(rule, source())
    if target is None:
        click.echo(key)
    else:
        write_key(target, key)
        click.echo(f"{target} has a key that works for {in_words(life)}.", err=True)
