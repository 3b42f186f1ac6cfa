"""`configure`: the tool asks the command, and every other byte of its settings stays."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as some
from litellm_orchestrator_client.cli.configure import json_text, toml_text

from .conftest import Laptop
from .standin import StandIn

CLAUDE = ".claude/settings.json"
CODEX = ".codex/config.toml"
OPENCODE = ".config/opencode/opencode.json"
MINE_JSON = """\
{
    "model":"opus",   "permissions": {"allow": [ "Bash(ls:*)" ]},
    "env": {
        "A": "1"
    }
}"""
MINE_TOML = """\
# mine
model   = "gpt-5"   # the best
[tui]
notifications = [ "a",
   'b' ]

[model_providers.other]
name = 'Other'
"""
MINE_JSONC = """\
// mine
{
  "theme": "dark", // "provider": {}
  /* the models */
  "provider": {
    "other": {"models": {},},
  },
}
"""


@pytest.fixture
def signed_in(laptop: Laptop, service: StandIn) -> Laptop:
    """`litellm-key` is at a path with a space in it."""
    laptop("login", service.origin)
    program = laptop.machine.home / "my tools" / "litellm-key"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    laptop.machine.environ["PATH"] = str(program.parent)
    return laptop


def settings(laptop: Laptop, name: str, text: str | bytes | None = None) -> Path:
    """A file of a tool in the home, with this content."""
    path = laptop.machine.home / name
    if text is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_claude_code_asks_the_command(signed_in: Laptop, service: StandIn) -> None:
    """`apiKeyHelper` is a line for /bin/sh; the base URL has no /v1. It says what it wrote and what to do next."""
    path = settings(signed_in, CLAUDE)
    said = signed_in("configure", "claude-code").stdout
    helper = f"'{signed_in.machine.home}/my tools/litellm-key' token --service {service.service}"
    assert json.loads(path.read_text()) == {"apiKeyHelper": helper, "env": {"ANTHROPIC_BASE_URL": service.origin}}
    assert said.splitlines() == [
        str(path),
        f'  apiKeyHelper = "{helper}"',
        f'  env.ANTHROPIC_BASE_URL = "{service.origin}"',
        "Start claude again. A model of yours: claude --model NAME",
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_codex_asks_the_command(signed_in: Laptop, service: StandIn) -> None:
    """A provider of its own with `auth.command`, and LiteLLM's address with /v1."""
    signed_in("configure", "codex", "--for", "alice")
    written = tomllib.loads(settings(signed_in, CODEX).read_text())
    assert written["model_provider"] == "litellm-key"
    assert written["model_providers"]["litellm-key"] == {
        "name": "LiteLLM",
        "base_url": f"{service.origin}/v1",
        "wire_api": "responses",
        "auth": {
            "command": f"{signed_in.machine.home}/my tools/litellm-key",
            "args": ["token", "--service", service.service, "--for", "user:default/alice"],
            "timeout_ms": 20000,
            "refresh_interval_ms": 300000,
        },
    }


def test_opencode_has_a_plugin_that_asks_the_command(signed_in: Laptop, service: StandIn) -> None:
    """Its settings know no command: a provider with LiteLLM's models, and the plugin beside them."""
    signed_in("configure", "opencode")
    path = settings(signed_in, OPENCODE)
    assert json.loads(path.read_text())["provider"]["litellm-key"] == {
        "npm": "@ai-sdk/openai-compatible",
        "name": "LiteLLM",
        "options": {"baseURL": f"{service.origin}/v1"},
        "models": {"claude-fake": {}, "gpt-fake": {}},
    }
    plugin = (path.parent / "plugins" / "litellm-key.js").read_text()
    assert f'/my tools/litellm-key", ["token", "--service", "{service.service}"], {{ timeout: 20000 }})' in plugin
    assert "sk-" not in plugin + path.read_text()


@pytest.mark.parametrize(
    ("text", "added"),
    [
        (MINE_JSON, ['    "apiKeyHelper": HELPER,\n', '        "ANTHROPIC_BASE_URL": ORIGIN,\n']),
        (
            MINE_JSON.replace("\n", "\r\n"),
            ['    "apiKeyHelper": HELPER,\r\n', '        "ANTHROPIC_BASE_URL": ORIGIN,\r\n'],
        ),
        ('{"model": "ü", "env": {"A": "1"}}', ['"apiKeyHelper": HELPER, ', '"ANTHROPIC_BASE_URL": ORIGIN, ']),
        ("\ufeff" + MINE_JSON, ['    "apiKeyHelper": HELPER,\n', '        "ANTHROPIC_BASE_URL": ORIGIN,\n']),
    ],
    ids=["as people write", "CRLF", "one line", "BOM"],
)
def test_every_other_byte_of_json_stays(signed_in: Laptop, text: str, added: list[str]) -> None:
    """What was added is exactly this; without it, the file is as it was."""
    path = settings(signed_in, CLAUDE, text)
    signed_in("configure", "claude-code")
    after = path.read_bytes().decode()
    values = json.loads(after.removeprefix("\ufeff"))
    for each in added:
        line = each.replace("HELPER", json.dumps(values["apiKeyHelper"]))
        line = line.replace("ORIGIN", json.dumps(values["env"]["ANTHROPIC_BASE_URL"]))
        assert after.count(line) == 1
        after = after.replace(line, "")
    assert after == text


def test_every_other_byte_of_jsonc_stays(signed_in: Laptop) -> None:
    """With comments, and commas before what closes."""
    path = settings(signed_in, OPENCODE + "c", MINE_JSONC)
    signed_in("configure", "opencode")
    after = path.read_text()
    before, _, rest = after.partition('\n    "litellm-key": {')
    assert before + rest.partition("\n    },")[2] == MINE_JSONC
    assert not settings(signed_in, OPENCODE).exists()


@pytest.mark.parametrize(
    "text",
    [
        MINE_TOML,
        MINE_TOML.replace("\n", "\r\n"),
        MINE_TOML.rstrip("\n"),
        "",
        "a.b = 1\n",
        "\ufeff" + MINE_TOML,
        "# mine",
        "[[a]]\nx = 1\n[[a]]\nx = 2\n",
    ],
)
def test_every_other_line_of_toml_stays(signed_in: Laptop, text: str) -> None:
    """Every line is there as it was and in its order, and means the same."""
    path = settings(signed_in, CODEX, text)
    signed_in("configure", "codex")
    after = path.read_bytes().decode()
    kept = iter(after.splitlines(keepends=True))
    for line in text.splitlines(keepends=True):
        assert any(each.rstrip("\r\n") == line.rstrip("\r\n") for each in kept), (line, after)
    assert after.startswith("\ufeff") == text.startswith("\ufeff")
    values = tomllib.loads(after.removeprefix("\ufeff"))
    assert values.pop("model_provider") == "litellm-key"
    assert values["model_providers"].pop("litellm-key")["name"] == "LiteLLM"
    assert {name: value for name, value in values.items() if value} == tomllib.loads(text.removeprefix("\ufeff"))


CASES = [
    ("claude-code", CLAUDE, MINE_JSON),
    ("claude-code", CLAUDE, '{"apiKeyHelper": "mine",\n"env":{}}'),
    ("claude-code", CLAUDE, "{}"),
    ("claude-code", CLAUDE, MINE_JSON.replace("\n", "\r\n")),
    ("claude-code", CLAUDE, "\ufeff" + MINE_JSON),
    ("claude-code", CLAUDE, ""),
    ("claude-code", CLAUDE, None),
    ("codex", CODEX, MINE_TOML),
    ("codex", CODEX, 'model_provider = "other" # mine\n' + MINE_TOML),
    ("codex", CODEX, MINE_TOML.replace("\n", "\r\n")),
    ("codex", CODEX, "\ufeff" + MINE_TOML.rstrip("\n")),
    ("codex", CODEX, None),
    ("opencode", OPENCODE, MINE_JSONC),
    ("opencode", OPENCODE, None),
]


@pytest.mark.parametrize(("tool", "name", "text"), CASES)
def test_undo_restores_every_byte(signed_in: Laptop, tool: str, name: str, text: str | None) -> None:
    """Also after configuring twice, and what was not there before is gone; nothing is left to take back then."""
    path = settings(signed_in, name, text)
    signed_in("configure", tool)
    first = path.read_bytes()
    assert "is already so" in signed_in("configure", tool).stdout
    assert path.read_bytes() == first
    signed_in("configure", tool, "--for", "alice")
    signed_in("configure", tool, "--undo")
    assert (path.read_bytes().decode() if path.exists() else None) == text
    assert [each for each in path.parent.rglob("*") if each.is_file()] == ([path] if text is not None else [])
    assert "Nothing here was configured" in signed_in("configure", tool, "--undo").stdout


@pytest.mark.parametrize(("tool", "name", "text"), CASES)
def test_undo_after_somebody_changed_the_file(signed_in: Laptop, tool: str, name: str, text: str | None) -> None:
    """Only what the command wrote goes; what was added since stays."""
    path = settings(signed_in, name, text)
    signed_in("configure", tool)
    after = path.read_text("utf-8-sig")
    path.write_text("x = 1\n" + after if name == CODEX else after.replace("{", '{"x": 1,', 1))
    signed_in("configure", tool, "--undo")
    left = path.read_text()
    assert "litellm-key" not in left
    assert "ANTHROPIC_BASE_URL" not in left
    expected = (text or ("" if name == CODEX else "{}")).replace("// mine\n", "").removeprefix("\ufeff")
    plain = "x = 1\n" + expected if name == CODEX else expected.replace("{", '{"x": 1,', 1)
    assert meaning(name, left) == meaning(name, plain)


def meaning(name: str, text: str) -> Any:
    """What a tool reads: comments and commas before what closes mean nothing, nor do empty tables."""
    if name == CODEX:
        return {key: value for key, value in tomllib.loads(text).items() if value}
    lines = [line.partition("//")[0].partition("/*")[0] for line in text.splitlines()]
    joined = "".join("".join(lines).split())
    for closing in "}]":
        joined = joined.replace(f",{closing}", closing)
    return json.loads(joined)


def test_undo_leaves_what_somebody_replaced(signed_in: Laptop) -> None:
    """A helper of another kind is not ours any more."""
    path = settings(signed_in, CLAUDE, MINE_JSON)
    signed_in("configure", "claude-code")
    values = json.loads(path.read_text()) | {"apiKeyHelper": "another"}
    path.write_text(json.dumps(values))
    assert "apiKeyHelper has been changed since, and stays" in signed_in("configure", "claude-code", "--undo").stdout
    assert json.loads(path.read_text()) == json.loads(MINE_JSON) | {"apiKeyHelper": "another"}


def test_what_was_there_is_said_and_comes_back(signed_in: Laptop) -> None:
    """A helper of one's own, also when the file has changed meanwhile."""
    path = settings(signed_in, CLAUDE, '{\n  "apiKeyHelper": "mine"\n}\n')
    assert '(it was "mine")' in signed_in("configure", "claude-code").stdout
    path.write_text(path.read_text() + "\n")
    signed_in("configure", "claude-code", "--undo")
    assert path.read_text() == '{\n  "apiKeyHelper": "mine"\n}\n\n'


@pytest.mark.parametrize(("tool", "name", "text"), CASES)
def test_a_dry_run_changes_nothing(signed_in: Laptop, tool: str, name: str, text: str | None) -> None:
    """Neither the file nor what undo knows; it says what would be."""
    path = settings(signed_in, name, text)
    assert signed_in("configure", tool, "--dry-run").stdout.startswith(f"This would change:\n{path}\n  ")
    assert (path.read_bytes().decode() if path.exists() else None) == text
    assert "Nothing here was configured" in signed_in("configure", tool, "--undo").stdout
    signed_in("configure", tool)
    after = path.read_bytes()
    assert "This would change:" in signed_in("configure", tool, "--undo", "--dry-run").stdout
    assert path.read_bytes() == after


@pytest.mark.parametrize(
    ("tool", "name", "text"),
    [
        ("claude-code", CLAUDE, '{"a": '),
        ("claude-code", CLAUDE, "[]"),
        ("claude-code", CLAUDE, '{"env": "x"}'),
        ("claude-code", CLAUDE, b"\xff\xfe{"),
        ("codex", CODEX, "a = \n"),
        ("codex", CODEX, "model_providers = 1\n"),
        ("codex", CODEX, 'model_providers.other.name = "x"\n'),
        ("codex", CODEX, 'model_providers = {other = {name = "x"}}\n'),
        ("opencode", OPENCODE, '{"provider": /* {} }'),
    ],
)
def test_a_file_that_is_not_understood_stays(signed_in: Laptop, tool: str, name: str, text: str | bytes) -> None:
    """With a sentence and exit code 1."""
    path = settings(signed_in, name, text)
    content = path.read_bytes()
    assert f"{path} is left as it is" in signed_in("configure", tool, code=1).stderr.replace("\n", " ")
    assert path.read_bytes() == content


def test_links_and_permissions_stay(signed_in: Laptop) -> None:
    """Of settings that are kept in a repository of dotfiles."""
    real = settings(signed_in, "dotfiles/claude.json", MINE_JSON)
    real.chmod(0o640)
    link = settings(signed_in, CLAUDE)
    link.parent.mkdir()
    link.symlink_to(real)
    signed_in("configure", "claude-code")
    assert link.is_symlink()
    assert "apiKeyHelper" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_the_folders_that_the_tools_themselves_ask_for(signed_in: Laptop, tmp_path: Path) -> None:
    """By their own variables."""
    for name, folder in (("CLAUDE_CONFIG_DIR", "a"), ("CODEX_HOME", "b"), ("XDG_CONFIG_HOME", "c")):
        signed_in.machine.environ[name] = str(tmp_path / folder)
    written = {"claude-code": "a/settings.json", "codex": "b/config.toml", "opencode": "c/opencode/opencode.json"}
    for tool, name in written.items():
        signed_in("configure", tool)
        assert (tmp_path / name).exists()


def test_a_variable_that_goes_before_the_command(signed_in: Laptop) -> None:
    """Claude Code would use it instead: it says so."""
    signed_in.machine.environ["ANTHROPIC_API_KEY"] = "sk-ant"
    said = signed_in("configure", "claude-code").stdout
    assert "ANTHROPIC_API_KEY is set in this shell, and goes before the command: unset it." in said
    assert "sk-ant" not in said


_NAMES = some.text('abc"\\é ', max_size=3)
_VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | _NAMES,
    lambda inner: some.lists(inner, max_size=2) | some.dictionaries(_NAMES, inner, max_size=2),
    max_leaves=6,
)


@with_settings(deadline=None)
@given(
    some.dictionaries(_NAMES, _VALUES, min_size=1, max_size=3), some.sampled_from([None, 1, 2, "\t"]), _NAMES, _VALUES
)
def test_any_json_keeps_its_bytes(document: dict[str, Any], indent: Any, name: str, value: Any) -> None:
    """A value that is put in is read by everybody; taken out, the text is as it was."""
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    path = ("new", name) if "new" not in document else (name,)
    put = json_text.with_value(text, ["new name"], json.dumps(value, indent=2))
    assert json.loads(put) == {"new name": value} | document
    assert json_text.without_value(put, ["new name"]) == text
    assert json.loads(json_text.value_at(put, ["new name"]) or "") == value
    deep = json.loads(json_text.with_value(text, path, json.dumps(value)))
    assert (deep["new"] if len(path) == 2 else deep)[name] == value


def test_toml_says_what_it_has() -> None:
    """As JSON, whatever the way in which it is written."""
    text = "a = {b = [1, 'x']}\n[c.d]\ne = true\n"
    assert toml_text.value_at(text, ["a"]) == '{"b": [1, "x"]}'
    assert toml_text.value_at(text, ["c", "d"]) == '{"e": true}'
    assert toml_text.value_at(text, ["c", "x", "y"]) is None
    assert toml_text.without_value(text, ["c", "x"]) == text


def test_undo_of_a_file_that_somebody_removed(signed_in: Laptop) -> None:
    """It does not come back, neither empty nor as it was."""
    for text in (MINE_JSON, None):
        path = settings(signed_in, CLAUDE, text)
        signed_in("configure", "claude-code")
        path.unlink()
        assert "has been removed since, and stays so" in signed_in("configure", "claude-code", "--undo").stdout
        assert not path.exists()


def test_undo_takes_back_every_file(signed_in: Laptop, tmp_path: Path) -> None:
    """Also those in a folder that the tool's variable named before."""
    written = []
    for folder in ("a", "b"):
        signed_in.machine.environ["CODEX_HOME"] = str(tmp_path / folder)
        signed_in("configure", "codex")
        written.append(tmp_path / folder / "config.toml")
    assert all(path.exists() for path in written)
    signed_in("configure", "codex", "--undo")
    assert not any(path.exists() for path in written)


def test_a_link_to_a_file_that_is_not_there(signed_in: Laptop) -> None:
    """The file is made where it leads, and undo takes that away, not the link."""
    real, link = settings(signed_in, "claude.json"), settings(signed_in, CLAUDE)
    link.parent.mkdir()
    link.symlink_to(real)
    signed_in("configure", "claude-code")
    assert "apiKeyHelper" in real.read_text()
    signed_in("configure", "claude-code", "--undo")
    assert (link.is_symlink(), real.exists()) == (True, False)


def test_a_key_that_is_in_the_settings_already(signed_in: Laptop) -> None:
    """Claude Code would use it instead of the command: it says so, without the key."""
    path = settings(signed_in, CLAUDE, '{"env": {"ANTHROPIC_AUTH_TOKEN": "sk-canary"}}')
    for arguments in (("--dry-run",), ()):
        said = signed_in("configure", "claude-code", *arguments).stdout
        assert f"env.ANTHROPIC_AUTH_TOKEN is set in {path}, and goes before the command: remove it." in said
        assert "sk-canary" not in said


def test_a_file_that_is_read_only(signed_in: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody meant that: it stays, and so it does for undo. Root may write everything, so the test answers for it."""
    path = settings(signed_in, CLAUDE, MINE_JSON)
    read_only = pytest.MonkeyPatch()
    read_only.setattr("os.access", lambda *_: False)
    assert f"{path} cannot be written (it is read-only)" in signed_in("configure", "claude-code", code=1).stderr
    assert path.read_text() == MINE_JSON
    read_only.undo()
    signed_in("configure", "claude-code")
    after = path.read_text()
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "it is read-only" in signed_in("configure", "claude-code", "--undo", code=1).stderr
    assert path.read_text() == after
    monkeypatch.undo()
    signed_in("configure", "claude-code", "--undo")
    assert path.read_text() == MINE_JSON


def test_what_was_there_before_the_first_time_comes_back(signed_in: Laptop) -> None:
    """Not what the command itself wrote then, also where somebody has changed the file since."""
    path = settings(signed_in, CLAUDE, '{"apiKeyHelper": "mine"}')
    signed_in("configure", "claude-code")
    signed_in("configure", "claude-code", "--for", "alice")
    path.write_text(path.read_text() + "\n")
    signed_in("configure", "claude-code", "--undo")
    assert json.loads(path.read_text()) == {"apiKeyHelper": "mine"}
