"""Looks for secrets in every line that a commit of this repository ever added, by the forms of their issuers.

Words beside a text and its entropy are not looked at: hashes of lock files and the canaries of tests have both.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.core.potential_secret import PotentialSecret
from detect_secrets.core.scan import scan_line
from detect_secrets.settings import transient_settings

_ROOT = Path(__file__).parent.parent
_KNOWN = frozenset(
    {
        "5ec27e41f1d55aa6459827d07a72e9f5bd7a84d7",  # the token in tests/support/redaction.py
        "f0778f3e140a61d5bbbed5430773e52af2f5fba4",  # the head of the private key there
        "706a6319b9f01a57894f538c760a00769cf8395f",  # the token in examples of openapi.yaml, which is empty
    }
)
"""SHA-1 of what looks like a secret and is none."""
_WITHOUT_FORM = {"Base64HighEntropyString", "HexHighEntropyString", "KeywordDetector", "BasicAuthDetector"}
_LOG = ("git", "log", "--all", "--patch", "--unified=0", "--no-color", "--no-ext-diff", "--format=commit %h")


def found() -> Iterator[tuple[str, PotentialSecret]]:
    """Each commit that added what looks like a secret, with that."""
    commit = ""
    with subprocess.Popen(_LOG, cwd=_ROOT, stdout=subprocess.PIPE, text=True, errors="replace") as log:  # noqa: S603  # constant
        assert log.stdout is not None
        for line in log.stdout:
            if line.startswith("commit "):
                commit = line.split()[1]
            elif line.startswith("+"):
                yield from ((commit, secret) for secret in scan_line(line[1:]) if secret.secret_hash not in _KNOWN)


def main() -> None:
    """Prints the commit and the kind of each, never the secret itself. Exits with 1 if there are any."""
    if (_ROOT / ".git" / "shallow").exists():
        sys.exit("history: the whole history is needed; git fetch --unshallow")
    names = {plugin.__name__ for plugin in get_mapping_from_secret_type_to_class().values()} - _WITHOUT_FORM
    with transient_settings({"plugins_used": [{"name": name} for name in sorted(names)]}):
        lines = sorted({f"{commit}: {secret.type} (SHA-1 {secret.secret_hash})" for commit, secret in found()})
    print("\n".join(lines) or "history: no secret in any commit")  # noqa: T201  # a command
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
