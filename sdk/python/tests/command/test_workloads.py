"""`exchange`: a workload's own token becomes a key, without being told where the token is, and a file stays fresh."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
from pathlib import Path

import pytest

from .conftest import Laptop
from .standin import BASE, FakeClock, StandIn
from .test_programs import COMMAND, home, real

__all__ = ("home", "real")

RULE = "shop-main"


@pytest.fixture
def job(laptop: Laptop, service: StandIn) -> Laptop:
    """The service is named by the environment; keys live for a quarter of an hour."""
    laptop.machine.environ["LITELLM_KEY_SERVICE"] = service.origin
    service.key_life = 900
    return laptop


def token(audience: str | list[str] | None) -> str:
    """A token of a platform, with a signature that nobody looks at here."""
    parts = ({"alg": "RS256"}, {"aud": audience, "iss": "https://gitlab.example.com"})
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + ".c2ln"
    )


def exchanged(service: StandIn) -> list[str]:
    """The tokens that were shown."""
    return [form["subject_token"] for path, form in service.asked if path == BASE + "/oauth/token"]


def test_the_token_of_a_file(job: Laptop, service: StandIn, tmp_path: Path) -> None:
    """The key is on stdout and nothing else; nothing is kept."""
    (tmp_path / "token").write_text("a.b.c\n")
    result = job("exchange", RULE, "--token-file", str(tmp_path / "token"))
    assert (result.stdout, result.stderr) == ("sk-1\n", "")
    assert service.asked[-1][1] == {
        "client_id": RULE,
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "a.b.c",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    }
    assert not job.machine.folder.exists()


def test_a_job_of_github(job: Laptop, service: StandIn) -> None:
    """It asks GitHub for the job's token, for this audience, without being told."""
    job.machine.environ.update({
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{service.origin}/job-token?api=2",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runtime",
    })  # fmt: skip
    assert job("exchange", RULE).stdout == "sk-1\n"
    path, headers = service.asked[0]
    assert (path, headers["Authorization"]) == (
        "/job-token?api=2&audience=litellm-orchestrator",
        "Bearer runtime",
    )
    assert exchanged(service) == ["the.jobs.token"]


def test_a_job_of_github_without_the_permission(job: Laptop) -> None:
    """The sentence says which."""
    job.machine.environ["GITHUB_ACTIONS"] = "true"
    assert "permissions: {id-token: write}" in job("exchange", RULE, code=1).stderr


def test_a_job_of_gitlab(job: Laptop, service: StandIn) -> None:
    """The variable is found by its audience, whatever it is called, and no other token leaves the job."""
    ours = token(["litellm-orchestrator"])
    job.machine.environ.update({"GITLAB_CI": "true", "VAULT": token("vault"), "ANY_NAME": ours, "X": "ey.not.json"})
    job.machine.environ["FOR_NOBODY"] = token(None)
    assert job("exchange", RULE).stdout == "sk-1\n"
    assert exchanged(service) == [ours]
    assert "no token for the audience other" in job("exchange", RULE, "--audience", "other", code=1).stderr
    job.machine.environ["SECOND"] = token("litellm-orchestrator") + "x"
    assert "more than one token" in job("exchange", RULE, code=1).stderr


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        ((400, {"error": "invalid_grant", "error_description": "The token is not accepted"}), 3, "not accepted"),
        (503, 4, "cannot answer now"),
        ((500, b"<html>"), 4, "cannot answer now (500)"),
    ],
)
def test_no_key(  # noqa: PLR0917  # a case has three values
    job: Laptop, service: StandIn, tmp_path: Path, answer: object, code: int, says: str
) -> None:
    """A refusal is exit code 3, an outage 4, a missing file 1; stdout stays empty."""
    (tmp_path / "token").write_text("a.b.c")
    service.next_answers = [answer]
    result = job("exchange", RULE, "--token-file", str(tmp_path / "token"), code=code)
    assert (result.stdout, says in result.stderr) == ("", True)
    assert "cannot be read" in job("exchange", RULE, "--token-file", str(tmp_path / "none"), code=1).stderr
    (tmp_path / "token").write_text("\n")
    assert "is empty" in job("exchange", RULE, "--token-file", str(tmp_path / "token"), code=1).stderr


def test_which_service(job: Laptop) -> None:
    """Nothing says which: a sentence, exit code 1; nowhere a token: the same."""
    assert "There is no token of a platform here" in job("exchange", RULE, code=1).stderr
    del job.machine.environ["LITELLM_KEY_SERVICE"]
    assert "Which service?" in job("exchange", RULE, "--token-file", "/dev/null", code=1).stderr


def test_a_file_for_a_container(job: Laptop, tmp_path: Path) -> None:
    """For its owner alone; stdout stays empty."""
    (tmp_path / "token").write_text("a.b.c")
    result = job("exchange", RULE, "--token-file", str(tmp_path / "token"), "--to", str(tmp_path / "key"))
    assert (result.stdout, (tmp_path / "key").read_text()) == ("", "sk-1")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert "cannot be written" in job(
        "exchange", RULE, "--token-file", str(tmp_path / "token"), "--to", "/dev/null/key", code=1
    ).stderr  # fmt: skip
    assert "--watch needs --to FILE" in job("exchange", RULE, "--watch", code=1).stderr
    from_stdin = ("exchange", RULE, "--watch", "--to", str(tmp_path / "key"), "--token-file", "-")
    assert "not stdin" in job(*from_stdin, code=1).stderr


class Stopped(FakeClock):
    """Somebody stops the command after so many sleeps; what is in the file at each is noted, and the token changes."""

    def __init__(self, folder: Path, sleeps: int) -> None:
        super().__init__()
        self.folder, self.left, self.seen = folder, sleeps, list[str]()

    def sleep(self, seconds: float) -> None:
        file = self.folder / "key"
        self.seen.append(file.read_text() if file.exists() else "")
        (self.folder / "token").write_text(f"token {len(self.seen)}")
        super().sleep(seconds)
        if len(self.seen) == self.left:
            raise KeyboardInterrupt


def watched(job: Laptop, folder: Path, sleeps: int, code: int = 0) -> Stopped:
    (folder / "token").write_text("token 0")
    clock = Stopped(folder, sleeps)
    job.machine.clock = clock
    job("exchange", RULE, "--token-file", str(folder / "token"), "--to", str(folder / "key"), "--watch", code=code)
    return clock


def test_a_file_stays_fresh(job: Laptop, service: StandIn, tmp_path: Path) -> None:
    """A new key when a third is left, with the token that the platform has renewed meanwhile."""
    clock = watched(job, tmp_path, 3)
    assert (clock.seen, clock.slept) == (["sk-1", "sk-2", "sk-3"], [600, 600, 600])
    assert exchanged(service) == ["token 0", "token 1", "token 2"]


def test_a_file_during_an_outage(job: Laptop, service: StandIn, tmp_path: Path) -> None:
    """It is tried again with longer pauses, also before there is a first key, and the old key stays meanwhile."""
    service.next_answers = [502, None, 502, 502]
    clock = watched(job, tmp_path, 5)
    assert (clock.seen, clock.slept) == (["", "sk-1", "sk-1", "sk-1", "sk-2"], [2, 600, 2, 4, 600])


def test_a_file_while_the_service_asks_to_wait(job: Laptop, service: StandIn, tmp_path: Path) -> None:
    """`Retry-After` of a 503 and a 429 is kept."""
    service.next_answers = [503, 429]
    assert watched(job, tmp_path, 3).slept == [7, 7, 600]


def test_a_file_after_a_refusal(job: Laptop, service: StandIn, tmp_path: Path) -> None:
    """While its key works a refusal may pass; after that the command ends with exit code 3."""
    refused = (400, {"error": "invalid_grant", "error_description": "no"})
    service.next_answers = [None, refused, None, *[refused] * 20]
    clock = watched(job, tmp_path, 100, code=3)
    assert clock.slept[:4] == [600, 2, 600, 2]
    assert 300 <= sum(clock.slept[3:]) < 360


def test_a_container_that_is_stopped(home: dict[str, str], real: StandIn, tmp_path: Path) -> None:
    """`--watch` ends at once with 0 on SIGTERM, also as the first process of a container, and leaves the file."""
    (tmp_path / "token").write_text("a.b.c")
    arguments = ("exchange", RULE, "--service", real.origin, "--token-file", str(tmp_path / "token"), "--watch")
    real.next_answers = [None, 503]
    real.key_life = 0.0
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--to", str(tmp_path / "key")], env=home, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert "Trying again in 7 s" in process.stderr.readline()
    process.terminate()
    assert (process.communicate()[1], process.returncode) == ("", 0)
    assert (tmp_path / "key").read_text() == "sk-1"
