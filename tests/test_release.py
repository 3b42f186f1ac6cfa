"""`make release`: what it refuses, and what it makes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app import contract
from tests.support.processes import ROOT

VERSION = contract()["info"]["version"]
NEXT = "99.0.0"
PINNED = re.compile(r"^([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", re.MULTILINE)


class Repository:
    """A clone of this repository in which a release can be made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("clone", "--quiet", "--no-hardlinks", str(ROOT), ".")
        self.git("config", "user.name", "alice")
        self.git("config", "user.email", "alice@example.com")

    def git(self, *arguments: str) -> str:
        return subprocess.check_output(["git", *arguments], cwd=self.folder, text=True)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "prepare")

    def write(self, name: str, change: Callable[[str], str]) -> None:
        path = self.folder / name
        path.write_text(change(path.read_text()))

    def prepare(self) -> None:
        """Everything that a release of VERSION needs."""
        text = (self.folder / "openapi.yaml").read_text()
        (self.folder / "docs/releases" / f"{VERSION}.yaml").write_text(text)
        self.write("CHANGELOG.md", lambda log: log.replace("## [Unreleased]", f"## [{VERSION}] - 2026-11-24", 1))
        self.commit()

    def release(self, version: str) -> tuple[int, str]:
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["deploy/release", version], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = Repository(tmp_path_factory.mktemp("release"))
    repository.prepare()
    repository.git("branch", "prepared")
    return repository


@pytest.fixture
def repository(prepared: Repository) -> Repository:
    """As it was prepared, without a tag of the version."""
    prepared.git("reset", "--quiet", "--hard", "prepared")
    prepared.git("clean", "--quiet", "--force", "-d", "-x")
    if f"v{VERSION}" in prepared.git("tag").split():
        prepared.git("tag", "--delete", f"v{VERSION}")
    return prepared


@pytest.mark.deploy
def test_a_release_is_a_tag_and_a_bill_of_materials(repository: Repository) -> None:
    """The tag is annotated, and the bill lists what the lock file pins."""
    code, printed = repository.release(VERSION)
    assert code == 0, printed
    assert repository.git("cat-file", "-t", f"v{VERSION}") == "tag\n"
    bill = json.loads((repository.folder / f"dist/sbom-{VERSION}.cdx.json").read_text())
    listed = {f"{part['name']}=={part['version']}".lower() for part in bill["components"]}
    assert listed == {
        f"{name}=={version}" for name, version in PINNED.findall((ROOT / "requirements.lock").read_text())
    }


def leave_a_file(repository: Repository) -> None:
    (repository.folder / "new.txt").write_text("new")


def tag(repository: Repository) -> None:
    repository.git("tag", f"v{VERSION}")


def change_the_contract(repository: Repository) -> None:
    repository.write("openapi.yaml", lambda text: text.replace("summary: Get the", "summary: Read the", 1))
    repository.commit()


def forget_a_client(repository: Repository) -> None:
    repository.write("sdk/typescript/package.json", lambda text: text.replace(VERSION, NEXT))
    repository.commit()


def forget_the_changelog(repository: Repository) -> None:
    repository.write("CHANGELOG.md", lambda text: text.replace(f"## [{VERSION}]", "## [Unreleased]"))
    repository.commit()


@pytest.mark.parametrize(
    ("arrange", "version", "says"),
    [
        (lambda _: None, "", "expected a version such as 1.2.3"),
        (lambda _: None, "v1", "expected a version such as 1.2.3"),
        (lambda _: None, NEXT, f"openapi.yaml has version {VERSION}"),
        (leave_a_file, VERSION, "the working tree is not clean"),
        (tag, VERSION, f"the tag v{VERSION} exists"),
        (change_the_contract, VERSION, "a changed contract needs a newer version"),
        (forget_a_client, VERSION, f"sdk/typescript/package.json has version {NEXT}"),
        (forget_the_changelog, VERSION, f"CHANGELOG.md has no section ## [{VERSION}] - "),
    ],
)
def test_it_refuses(repository: Repository, arrange: Callable[[Repository], None], version: str, says: str) -> None:
    """What is not ready, with what to do; then there is no new tag."""
    arrange(repository)
    before = repository.git("tag")
    code, printed = repository.release(version)
    assert code == 1
    assert says in printed
    assert repository.git("tag") == before


def test_it_refuses_a_contract_that_was_not_released(repository: Repository) -> None:
    """The command that does it is in the sentence."""
    (repository.folder / "docs/releases" / f"{VERSION}.yaml").unlink()
    repository.commit()
    code, printed = repository.release(VERSION)
    assert (code, f"run: cp openapi.yaml docs/releases/{VERSION}.yaml" in printed) == (1, True)
