"""`litellm-key`: signs a machine in once, and gives each tool a key that renews itself. Needs the extra `[cli]`.

Tools wait for `token` before their requests: what it does not need for a key that it has is imported where it is used.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDED = ("click", "filelock", "keyring", "platformdirs", "tomlkit")


def main() -> None:
    """The console script."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        sys.exit(f"litellm-key needs {', '.join(missing)}: pip install 'litellm-orchestrator-client[cli]'")
    from .commands import cli  # only now is everything there that it imports

    cli()
