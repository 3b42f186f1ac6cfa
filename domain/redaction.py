"""Masks secrets in what is logged, stored, traced or answered: by their form, and those of the settings by value.

Values are masked before they are rendered: JSON escapes a quote or a newline in a secret, which is then found no more.
A text may have been escaped before it came here, as in a `repr` or a URL, so each character is looked for in every
usual spelling. Why what a caller sees is masked by form only: `docs/adr/0027-redaction.md`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MASK = "[redacted]"

# Where a word begins. The `n` of an escaped `\nsk-…` and the `D` of `%3Dsk-…` belong to no word.
_ESCAPES = (r"\\[nrt]", r"%[0-9A-Fa-f]{2}", r"\\x[0-9A-Fa-f]{2}", r"\\u[0-9A-Fa-f]{4}")
_WORD_BEGINS = "(?:(?<![A-Za-z0-9])|" + "|".join(f"(?<={escape})" for escape in _ESCAPES) + ")"
_FORMS = {
    # LiteLLM's keys, also those that an operator chose: neither `desk-lamp` nor `sk-learn`.
    "sk-": _WORD_BEGINS + r"sk-(?:[A-Za-z0-9_-]{6,}|[A-Za-z_-]*[0-9][A-Za-z0-9_-]*)",
    # Device codes and refresh tokens of this service.
    "lod_|lor_": _WORD_BEGINS + r"lo[dr]_[A-Za-z0-9_-]{16,}",
    # Compact JWTs (RFC 7515, section 3.1). The shortest header has nineteen characters.
    "eyJ": r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){0,3}",
    # What follows the scheme of an Authorization header (RFC 9110, section 11.4), unless it is a word.
    "earer|EARER|asic|BASIC": (
        r"(?i:bearer|basic)(?:[ \t]|%20|\+)+(?=[A-Za-z_~+/=.-]*[0-9]|[A-Za-z_~+/=.-]{20})[A-Za-z0-9._~+/=-]{8,}"
    ),
    # A private key in PEM (RFC 7468), up to its end or that of the text.
    "-----BEGIN": (
        r"-----BEGIN[A-Z0-9 %+]{1,40}PRIVATE[A-Z0-9 %+]{1,40}KEY-----(?s:.*?)(?:-----END[A-Z0-9 %+]{1,80}KEY-----|\Z)"
    ),
}
"""By what a text must have to contain the form: most texts have none of it, and are not looked at again."""

_WHOLE_WORD = 12
"""A shorter secret is masked as a word of its own only: the password `postgres` must not hide `postgresql`."""
_WHOLE_VALUE = 4
"""A still shorter one only where it is all there is: it could be guessed anyway, and is in every other word."""
_LONG_LINE = 16


class Redaction:
    """Masks secrets by form, and `secrets` by value, with the lines of those that have several."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({part for secret in secrets for part in _parts(secret)}, key=len, reverse=True)
        spelled = {secret: "".join(map(_spellings, secret)) for secret in known}
        self._hint = re.compile("|".join([*_FORMS, *spelled.values()]))
        self._secret = re.compile("|".join([*map(_bounded, spelled, spelled.values()), *_FORMS.values()]))

    def text(self, text: str) -> str:
        """`text` with each secret masked."""
        return self._secret.sub(MASK, text) if self._hint.search(text) else text

    def value(self, value: Any) -> Any:
        """`value` as JSON, with each secret masked, in names too. What is not JSON becomes its `repr`."""
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.value(part) for name, part in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.value(part) for part in value]
        return self.text(repr(value))


def _parts(secret: str) -> Iterator[str]:
    """The secret, and the long lines of one that has several: a log may hold a PEM key line by line."""
    lines = secret.splitlines()
    if secret:
        yield secret
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _LONG_LINE and not line.startswith("-----"))


def _bounded(secret: str, spelled: str) -> str:
    if len(secret) < _WHOLE_VALUE:
        return rf"\A{spelled}\Z"
    return rf"{_WORD_BEGINS}{spelled}(?![A-Za-z0-9])" if len(secret) < _WHOLE_WORD else spelled


def _spellings(character: str) -> str:
    """A pattern for `character` as it is, percent-encoded, and escaped in JSON or Python, once or several times."""
    literal = re.escape(character)
    if character.isascii() and character.isalnum():
        return literal
    encoded = character.encode("utf-8", "surrogatepass")
    units = character.encode("utf-16-be", "surrogatepass").hex()
    by_number = [
        "".join(f"%{byte:02x}" for byte in encoded),
        "".join(rf"\\+x{byte:02x}" for byte in encoded),
        "".join(rf"\\+u{units[start : start + 4]}" for start in range(0, len(units), 4)),
        rf"\\+x{ord(character):02x}",
        rf"\\+u{ord(character):08x}",
    ]
    escaped = {
        "\n": rf"\r\n|(?:\\+r)?\\+n|{literal}",
        "\r": rf"\\+r|{literal}",
        "\t": rf"\\+t|{literal}",
        "\\": r"\\+",
        " ": r" |\+",
    }.get(character, rf"\\*{literal}")
    return f"(?:{escaped}|(?i:{'|'.join(by_number)}))"


BY_FORM = Redaction()
"""Masks what looks like a secret, whoever's it is."""
