"""What a tool's settings shall say, and how that is written, remembered and taken back."""

from __future__ import annotations

import base64
import errno
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from litellm_orchestrator_client.cli import files
from litellm_orchestrator_client.cli.errors import CommandError

from . import json_text, toml_text, whole_file


class Language(Protocol):
    """How a file is written. Each function takes the text of a file, and raises ValueError if it is none of its own."""

    def value_at(self, text: str, path: Sequence[str]) -> str | None:
        """The value there."""

    def with_value(self, text: str, path: Sequence[str], value: str) -> str:
        """The text with it."""

    def without_value(self, text: str, path: Sequence[str]) -> str:
        """The text without it."""


LANGUAGES: dict[str, Language] = {"json": json_text, "toml": toml_text, "whole": whole_file}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file and the values that it shall have, as JSON, by their paths."""

    file: Path
    language: str
    values: dict[tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class Planned:
    """A file with its content before and after. `record` is what taking it back needs."""

    file: Path
    before: bytes | None
    after: bytes
    said: list[str]
    record: dict[str, Any]

    def has(self, path: Sequence[str]) -> bool:
        """Whether there is a value at this path then."""
        return LANGUAGES[self.record["language"]].value_at(self.after.decode(), path) is not None


def plan(wanted: Wanted, record: dict[str, Any] | None) -> Planned:
    """What would change; `record` is that of an earlier change of the same file. Raises CommandError."""
    language, before = LANGUAGES[wanted.language], _read(wanted.file)
    text = _text(wanted.file, before)
    known = {tuple(row["path"]): row["before"] for row in record["values"]} if record else {}
    said, rows, made = [], [], [tuple(path) for path in record["made"]] if record else []
    try:
        for path, value in wanted.values.items():
            was = language.value_at(text, path)
            made += [path[:size] for size in range(1, len(path)) if language.value_at(text, path[:size]) is None]
            rows.append({"path": path, "wrote": value, "before": known.get(path, was)})
            if not same(was, value):
                text = language.with_value(text, path, value)
                said.append(_sentence(path, value, was))
    except ValueError as error:
        raise CommandError(f"{wanted.file} is left as it is: {error}") from error
    after = text.encode()
    whole = base64.b64encode(before).decode() if before is not None else None
    digest = sha256(after).hexdigest()
    if record:  # what was there before the first change is what is to be restored
        unchanged = sha256(before or b"").hexdigest() == record["after"]
        whole, digest = record["before"], digest if unchanged else ""
    new = {
        "file": str(wanted.file), "language": wanted.language,
        "before": whole, "after": digest, "values": rows, "made": made,
    }  # fmt: skip
    return Planned(wanted.file, before, after, said, new)


def plan_back(record: dict[str, Any]) -> Planned:
    """What would be as before. A value that somebody has changed since stays. Raises CommandError."""
    file, language = Path(record["file"]), LANGUAGES[record["language"]]
    now = _read(file)
    if now is None:
        return Planned(file, None, b"", ["has been removed since, and stays so"], record)
    if sha256(now).hexdigest() == record["after"]:
        before = base64.b64decode(record["before"]) if record["before"] is not None else b""
        return Planned(file, now, before, ["as it was before" if before else "removed"], record)
    text, said = _text(file, now), []
    try:
        for row in record["values"]:
            path, found = row["path"], language.value_at(text, row["path"])
            if not same(found, row["wrote"]):
                said.append(f"{_name(path)} has been changed since, and stays")
            elif row["before"] is None:
                text = language.without_value(text, path)
                said.append(f"{_name(path)} removed")
            else:
                text = language.with_value(text, path, row["before"])
                said.append(f"{_name(path)} as it was before")
        for path in sorted(record["made"], key=len, reverse=True):
            if same(language.value_at(text, path), "{}"):
                text = language.without_value(text, path)
    except ValueError as error:
        raise CommandError(f"{file} is left as it is: {error}") from error
    return Planned(file, now, text.encode(), said, record)


def carry_out(planned: Planned) -> None:
    """Writes the file, with its permissions. One that is empty and was not there before goes. Raises CommandError."""
    file = planned.file
    try:
        if planned.after == (planned.before or b""):
            return
        if file.exists() and not os.access(file, os.W_OK):  # a new file in its place would not ask
            raise PermissionError(errno.EACCES, "it is read-only")
        if not planned.after and planned.record["before"] is None:
            Path(os.path.realpath(file)).unlink(missing_ok=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            files.replace(file, planned.after, stat.S_IMODE(file.stat().st_mode) if file.exists() else 0o600)
    except OSError as error:
        raise CommandError(f"{file} cannot be written ({error.strerror})") from error


def same(one: str | None, other: str | None) -> bool:
    """Whether two values mean the same, however they are written."""
    if one is None or other is None:
        return one is other
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return one == other


def _sentence(path: Sequence[str], value: str, was: str | None) -> str:
    if not path:
        return "written" if was is None else "replaced"
    old = "" if was is None else f" (it was {' '.join(was.split())})"
    return f"{_name(path)} = {' '.join(value.split())}{old}"


def _name(path: Sequence[str]) -> str:
    return ".".join(path) or "the file"


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandError(f"{file} cannot be read ({error.strerror})") from error


def _text(file: Path, content: bytes | None) -> str:
    try:
        return (content or b"").decode()
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is left as it is: it is no UTF-8") from error
