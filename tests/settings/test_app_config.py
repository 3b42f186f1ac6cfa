"""`app-config.yaml` is read by Backstage's rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from settings import yaml_core
from settings.app_config import AppConfigError, load


def load_text(tmp_path: Path, text: str, **environment: str) -> dict[str, Any]:
    path = tmp_path / "app-config.yaml"
    path.write_text(text)
    return load([path], environment)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("${HOST}", "example.com"),
        ("https://${HOST}:${PORT}/", "https://example.com:80/"),
        ("${ HOST }", "example.com"),
        ("${UNSET:-fallback}", "fallback"),
        ("${EMPTY:-fallback}", "fallback"),
        ("${HOST:-fallback}", "example.com"),
        ("$${HOST}", "${HOST}"),
        ("costs $5", "costs $5"),
        ("${PADDED}", "padded"),
    ],
)
def test_substitution(tmp_path: Path, written: str, read: str) -> None:
    """Variables are substituted, trimmed, with fallbacks and an escape."""
    environment = {"HOST": "example.com", "PORT": "80", "EMPTY": "", "PADDED": " padded "}
    assert load_text(tmp_path, f"key: '{written}'", **environment) == {"key": read}


def test_a_value_with_an_unset_variable_is_absent(tmp_path: Path) -> None:
    """As in Backstage, in mappings and in lists."""
    assert load_text(tmp_path, "a: 'x${UNSET}'\nb: [1, '${UNSET}', {$env: UNSET}]\nc: '${UNSET:-}'") == {"b": [1]}


def test_includes(tmp_path: Path) -> None:
    """`$env`, `$file` and `$include` are replaced by what they name, relative to the file they stand in."""
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.yaml").write_text("deep: {list: [1, '${HOST}'], file: {$file: here}}")
    (tmp_path / "more" / "here").write_text("beside other.yaml")
    (tmp_path / "other.json").write_text('{"a": "\\ud83d\\ude00"}')
    text = """
    env: {$env: HOST}
    file: {$file: '${NAME}'}
    part: {$include: more/other.yaml#deep}
    whole: {$include: other.json}
    """
    assert load_text(tmp_path, text, HOST="example.com", NAME="secret") == {
        "env": "example.com",
        "file": "s3cret",
        "part": {"list": [1, "example.com"], "file": "beside other.yaml"},
        "whole": {"a": "😀"},
    }


def test_later_files_win_and_variables_above_all(tmp_path: Path) -> None:
    """Objects are merged, everything else is replaced; APP_CONFIG_ variables are JSON or text."""
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("x: {a: 1, b: [1, 2], c: 3}")
    second.write_text("x: {b: [9]}")
    environment = {
        "APP_CONFIG_x_a": "true",
        "APP_CONFIG_y_z": "text",
        "APP_CONFIG_x_d": '{"e": 1}',
        "APP_CONFIG_x_c": "",
        "OTHER": "1",
    }
    assert load([first, second], environment) == {"x": {"a": True, "b": [9], "c": 3, "d": {"e": 1}}, "y": {"z": "text"}}


@pytest.mark.parametrize(
    "text", ["1e6", "12e4", "0o10", "+.5", "on", "010", "1:30", "2026-01-01", "null", "", "é", "a: b"]
)
def test_a_text_is_written_so_that_it_is_read_again(text: str) -> None:
    """`config print` writes it, and Backstage and readers of YAML 1.1 may read that."""
    tree = {"text": text, text: [1, 1.5, True, None]}
    written = yaml_core.dump(tree)
    assert repr(yaml_core.load(written)) == repr(yaml.safe_load(written)) == repr(tree)


def test_an_empty_file_is_nothing(tmp_path: Path) -> None:
    """A file may be empty, as an overlay often is."""
    assert load_text(tmp_path, "") == {}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a: on", {"a": "on"}),
        ("on: push", {"on": "push"}),
        ("{1: x, true: y, 1.5: z}", {"1": "x", "true": "y", "1.5": "z"}),
        ("a: [yes, No, off, true, FALSE]", {"a": ["yes", "No", "off", True, False]}),
        ("a: [010, 0o10, 0x1f, -5, 1:30, 1_000]", {"a": [10, 8, 31, -5, "1:30", "1_000"]}),
        ("a: [1e6, 2.0, .5, 1.5e-3, 12e4]", {"a": [1000000.0, 2.0, 0.5, 0.0015, 120000.0]}),
        ("a: [2026-02-30, 2026-01-01, '1', \"on\", !!str 7]", {"a": ["2026-02-30", "2026-01-01", "1", "on", "7"]}),
        ("a: [~, null, NULL, '', ]", {"a": [None, None, None, ""]}),
        ("a: &x {b: 1}\nc: {<<: *x}", {"a": {"b": 1}, "c": {"<<": {"b": 1}}}),
    ],
)
def test_yaml_is_read_as_backstage_reads_it(tmp_path: Path, written: str, read: dict[str, Any]) -> None:
    """YAML 1.2, as the package `yaml` of npm has it, each of these tried on it: what is a number there is one here."""
    assert repr(load_text(tmp_path, written)) == repr(read)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "is not YAML at line"),
        ("a: \x01", "is not YAML: unacceptable character"),
        ("a: 1\nb: 2\na: 3", "is not YAML at line 3: a name stands twice"),
        ("{[1]: 2}", "a name is a mapping or a list"),
        ("a: !!int canary", "a value does not fit its tag"),
        ("a: !!bool canary", "a value does not fit its tag"),
        ("a: !!float ''", "a value does not fit its tag"),
        ("a: !!map [canary]", "expected a mapping"),
        ("a: {$include: canary.json}", "canary.json cannot be read"),
        ("a: !!timestamp 2026-02-30", "could not determine a constructor"),
        ("a: {$include: app-config.yaml}", "contains or includes itself"),
        ("a: &x [*x]", "contains or includes itself"),
        ('a: {$file: "nul\\0"}', "cannot be read"),
        ("- 1", "expected a mapping"),
        ("a: {$file: nowhere}", "nowhere cannot be read"),
        ("a: {$env: X, b: 1}", r"\$env must be the only key"),
        ("a: {$env: [1]}", "must be a string"),
        ("a: {$file: '${UNSET}'}", "variables are all set"),
        ("a: {$include: x.txt}", "reads .json, .yaml and .yml"),
        ("a: {$include: nowhere.yaml}", "cannot be read"),
        ("a: {$include: app-config.yaml#b.c}", "has no b.c"),
    ],
)
def test_an_invalid_instruction_is_explained(tmp_path: Path, text: str, says: str) -> None:
    """The message names the file and what is wrong in it."""
    with pytest.raises(AppConfigError, match=says) as raised:
        load_text(tmp_path, text)
    assert "app-config.yaml" in str(raised.value)
    assert "canary" not in str(raised.value).replace("canary.json", "")


def test_an_unreadable_file_is_explained(tmp_path: Path) -> None:
    """A missing file and one that is not text are problems of their own."""
    with pytest.raises(AppConfigError, match="cannot be read"):
        load([tmp_path / "nowhere.yaml"], {})
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(AppConfigError, match="is not UTF-8"):
        load([tmp_path / "binary"], {})


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"APP_CONFIG_1bad": "1"}, "not a settings path"),
        ({"APP_CONFIG_a": "1", "APP_CONFIG_a_b": "2"}, "set to a value by another variable"),
        ({"APP_CONFIG_a_b": "2", "APP_CONFIG_a": "{}", "APP_CONFIG_a_b_c": "1"}, "another variable"),
        ({"APP_CONFIG_a_b": "2", "APP_CONFIG_a": '{"b": 1}'}, "given by another variable"),
    ],
)
def test_variables_that_contradict_are_refused(environment: dict[str, str], says: str) -> None:
    """Two variables never silently override each other."""
    with pytest.raises(AppConfigError, match=says):
        load([], environment)
