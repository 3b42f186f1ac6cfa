"""Runs mutmut on the rooms where a mistake costs most, each with the tests near it; each has a share of kills to reach.

`python tests/mutants/run.py [ROOM or FILE [JOBS]]`, in the environment of `make mutants`. When it runs it is no part of
the package `tests`, so that mutmut can import its copy of that package.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import libcst as cst
from libcst import matchers
from mutmut import configuration
from mutmut.__main__ import cli
from mutmut.mutation import file_mutation
from mutmut.mutation.data import SourceFileMutationData
from mutmut.stats import status_by_exit_code
from mutmut.workers.isolation import ForkRunner

ROOMS = {
    "services/access.py": ["tests/services/test_access.py", "tests/services/changes/test_audit.py"],
    "services/changes/*.py": [
        "tests/services/changes",
        "tests/edge/test_metrics.py",
        "tests/services/test_background.py",
        "tests/services/test_refused_by_litellm.py",
        "tests/services/keys/test_report.py",
        "tests/services/keys/test_ids.py::test_the_log_names_the_id",
        "tests/services/keys/test_ids.py::test_a_key_keeps_its_id",
        "tests/services/keys/test_ids.py::test_the_audit_log_names_the_id",
        "tests/services/tokens/test_exchange.py::test_later_it_gets_a_second_one_and_a_third_ends_the_first",
        "tests/services/tokens/test_guards.py",
    ],
    "state/changes.py": [
        "tests/state/test_repositories.py",
        "tests/services/changes",
        "tests/services/tokens/test_exchange.py::test_later_it_gets_a_second_one_and_a_third_ends_the_first",
    ],
    "services/offboarding/*.py": [
        "tests/services/offboarding",
        "tests/services/owners/test_known_secrets.py",
        "tests/cli/test_cleanup.py",
        "tests/edge/test_metrics.py::test_the_cleanup_and_the_directory",
        "tests/edge/test_metrics.py::test_users_whose_deletion_waits",
        "tests/edge/test_metrics.py::test_users_whom_a_run_fails_to_block",
        "tests/services/users/test_administration.py::test_off_boarding_now",
        "tests/services/users/test_administration.py::test_off_boarding_leaves_the_schedule_of_the_cleanup",
        "tests/services/users/test_administration.py::test_a_blocked_user_can_be_off_boarded_at_once",
        "tests/services/users/test_self_service.py::test_a_user_who_was_removed_is_created_again_before_their_next_key",
        "tests/edge/test_conditional.py::test_a_user_is_changed_only_in_the_expected_state",
        "tests/services/changes/test_refusals.py::test_an_admins_deletion_that_was_refused_leaves_an_event",
        "--ignore=tests/services/offboarding/test_size.py",
        *(
            f"--deselect=tests/services/offboarding/{slow}"
            for slow in (
                "test_crashes.py::test_killed_while",
                "test_on_hold.py::test_ten_thousand_people_on_hold",
                "test_on_hold.py::test_a_key_that_somebody_unblocked_elsewhere",
                "test_patience.py::test_deletions_in_24_hours",
                "test_patience.py::test_a_crash_between_deletions_does_not_widen_the_limit",
            )
        ),
    ],
    "services/keys/*.py": [
        "tests/services/keys",
        "tests/services/test_odd_rows.py",
        "tests/services/test_refused_by_litellm.py",
    ],
    "services/tokens/mint.py": [
        "tests/services/tokens/test_exchange.py",
        "tests/services/tokens/test_guards.py",
        "tests/services/tokens/test_refresh.py",
    ],
    "services/tokens/exchange.py": ["tests/services/tokens/test_exchange.py", "tests/services/tokens/test_guards.py"],
    "services/owners/*.py": ["tests/services/owners", "tests/services/offboarding/test_software.py"],
    "clients/backstage/*.py": ["tests/clients/backstage"],
    "clients/algorithms.py": ["tests/clients/backstage", "tests/clients/oidc"],
    "clients/signing_keys.py": ["tests/clients/backstage", "tests/clients/oidc"],
    "clients/oidc/*.py": [
        "tests/clients/oidc",
        "tests/services/tokens/test_exchange.py::test_what_no_rule_matches_and_who_may_ask",
        "tests/services/tokens/test_exchange.py::test_issuers_that_share_a_url",
        "tests/edge/test_metrics.py::test_calls_to_issuers_are_counted_together",
    ],
    "domain/workloads.py": [
        "tests/domain/test_workloads.py",
        "tests/settings/test_workloads.py",
        "tests/clients/oidc",
        "tests/services/tokens/test_exchange.py::test_the_health_of_an_issuer",
    ],
}
"""What is mutated, and the tests that have to notice."""
FEWEST_KILLED = 0.95
MYPY = [sys.executable, "-m", "mypy", "--no-warn-unused-ignores", "--output", "json"]
"""What mypy refuses never reaches a test; it takes most of the arguments that are missing or None."""
REFUSED, KILLED = "caught by type check", ("killed", "timeout")
_WRAPPED = matchers.FunctionDef(
    decorators=[matchers.Decorator(matchers.Name("property") | matchers.Name("asynccontextmanager"))]
)


def adapt_mutmut() -> None:
    """Properties and context managers are mutated too, sentences are not, and each room's tests run once on clean code.

    Mutmut leaves out what is decorated, because a decorator may register its function. These register nothing, and the
    write path consists of context managers. Their decorator stays outside of the switch between the mutants.
    What has a space in it is a text for people: whether it says XX at its end is not for a test to hold.
    """
    skip = file_mutation.MutationVisitor._skip_node_and_children
    arrange = file_mutation.function_trampoline_arrangement

    def skips(self: Any, node: cst.CSTNode) -> bool:
        is_sentence = isinstance(node, cst.SimpleString) and " " in node.value
        return is_sentence or (skip(self, node) and not matchers.matches(node, _WRAPPED))

    def arranged(function: cst.FunctionDef, mutants: Any, class_name: str | None) -> Any:
        empty, functions, assignments, names = arrange(function, mutants, class_name)
        if matchers.matches(function, _WRAPPED):
            functions = [functions[0], *(copy.with_changes(decorators=[]) for copy in functions[1:])]
        return empty, functions, assignments, names

    file_mutation.MutationVisitor._skip_node_and_children = skips
    file_mutation.function_trampoline_arrangement = arranged
    # Which test reaches what was found a moment before, by running all of them: once is enough.
    ForkRunner.run_clean_tests = lambda *_, **__: 0


def run(room: str, tests: Sequence[str], jobs: str) -> None:
    """In a process of its own, since mutmut imports the tests and the mutated code, and forks for each mutant."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(f"{room}: mutmut failed")
        return
    configuration._config = replace(
        configuration.config(),
        only_mutate=[room],
        pytest_add_cli_args_test_selection=list(tests),
        type_check_command=[*MYPY, *map(str, Path().glob(room))],
    )
    cli(["run", "--max-children", jobs])


def report(room: str) -> bool:
    """Prints the survivors of a room and its figures. Returns whether enough were killed."""
    outcomes: dict[str, str] = {}
    for path in sorted(Path().glob(room)):
        data = SourceFileMutationData(path=path)
        data.load()
        outcomes |= {name: status_by_exit_code[code] for name, code in data.exit_code_by_key.items()}
    counts = Counter(outcomes.values())
    killed, tested = sum(counts[status] for status in KILLED), len(outcomes) - counts[REFUSED]
    for name, status in outcomes.items():
        if status not in (*KILLED, REFUSED):
            print(f"  {status}: {name}")
    share = f"{killed} of {tested} killed ({killed / tested:.1%})"
    print(f"{room}: {len(outcomes)} mutants, mypy refuses {counts[REFUSED]}; {share}", flush=True)
    return killed >= FEWEST_KILLED * tested


def main(only: str = "", jobs: str = "2") -> int:
    """Returns 1 if a room has too many survivors."""
    chosen = {room: tests for room, tests in ROOMS.items() if room.startswith(only) or fnmatch(only, room)}
    if not chosen:
        sys.exit(f"{only} is in none of {', '.join(ROOMS)}")
    shutil.rmtree("mutants", ignore_errors=True)
    adapt_mutmut()
    enough = []
    for room, tests in chosen.items():
        files = only if fnmatch(only, room) else room
        Path("mutants/mutmut-stats.json").unlink(missing_ok=True)
        run(files, tests, jobs)
        enough.append(report(files))
    return 0 if all(enough) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
