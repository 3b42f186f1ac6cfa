"""What `make sdk` refuses, in sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from sdk.build import BuildError, called_by_programs, main, run
from tests.support.contract import CONTRACT_DOCUMENT


def test_a_client_has_what_programs_call() -> None:
    """Neither documents nor probes nor metrics; everything else."""
    left_out = CONTRACT_DOCUMENT["paths"].keys() - called_by_programs(CONTRACT_DOCUMENT)["paths"].keys()
    assert left_out == {
        "/openapi.yaml", "/openapi.json", "/docs", "/docs/{asset}",
        "/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/api/litellm-orchestrator",
        "/.backstage/health/v1/liveness", "/.backstage/health/v1/readiness", "/metrics",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("contract", "says"),
    [
        ("openapi: 2", "is not an OpenAPI 3.0 document"),
        (
            CONTRACT_DOCUMENT | {"info": CONTRACT_DOCUMENT["info"] | {"version": "9.0.0"}},
            "and the contract 9.0.0: a client has its contract's",
        ),
    ],
    ids=["no contract", "another version"],
)
def test_bad_input_gets_a_sentence(tmp_path: Path, contract: Any, says: str) -> None:
    """And exit code 1; nothing is built, and what was built before stays."""
    path, built = tmp_path / "openapi.yaml", tmp_path / "dist" / "old.whl"
    path.write_text(contract if isinstance(contract, str) else yaml.safe_dump(contract))
    built.parent.mkdir()
    built.touch()
    result = CliRunner().invoke(main, [str(path), "--into", str(built.parent)])
    assert (result.exit_code, says in result.output, "Traceback" in result.output) == (1, True, False), result.output
    assert built.exists()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("sh", "-c", "echo Warning: unknown type"), "sh failed or warned:\nWarning: unknown type"),
        (("sh", "-c", "echo no; exit 3"), "sh failed or warned:\nno"),
        (("no-such-generator",), "no-such-generator is not installed"),
    ],
    ids=["warns", "fails", "is missing"],
)
def test_a_tool_that_warns_or_fails_ends_the_build(command: tuple[str, ...], says: str) -> None:
    """With its own words."""
    with pytest.raises(BuildError) as raised:
        run(*command)
    assert says in raised.value.message
