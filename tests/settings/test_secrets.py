"""The secrets in the settings are found by rule, not by a list that somebody has to remember."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from settings.model import Certificate, ServiceToken, Settings
from settings.secrets import secrets_in, without_password
from standalone.environment import standalone_settings


@dataclass(frozen=True)
class Later:
    """A setting of a later version."""

    shown: str
    hidden: str = field(repr=False)


def test_everything_that_a_repr_leaves_out_is_a_secret(tmp_path: object) -> None:
    """Wherever it is, once each; and the passwords of URLs, decoded."""
    settings: Settings = replace(
        standalone_settings(str(tmp_path)),
        certificate=Certificate("chain", "key in PEM"),
        service_tokens=(ServiceToken("token one", "ci", "admin"), ServiceToken("token two", "cd", "member")),
        database_url="postgresql+psycopg://user:p%40ss@host/state?sslpassword=of%20a%20file",
    )
    found = secrets_in({"settings": settings, "later": [Later("shown", "hidden")]})
    expected = {settings.litellm.master_key, settings.backstage.catalog_token, "key in PEM", "hidden"}
    assert set(found) == expected | {"token one", "token two", "p@ss", "of a file"}
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://u:secret@host/db", "postgresql+psycopg://u:***@host/db"),
        ("postgresql://host/db?user=u&password=secret", "postgresql://host/db?user=u"),
        ("https://u:secret@host:8443/path?x=1", "https://u:***@host:8443/path?x=1"),
        ("http://u:secret@host:port", "[redacted]"),
        ("http://localhost:*", "http://localhost:*"),
        ("sqlite+aiosqlite:////var/state.sqlite3", "sqlite+aiosqlite:////var/state.sqlite3"),
    ],
)
def test_a_url_is_shown_without_passwords(url: str, shown: str) -> None:
    """Before the host, and in the query, where libpq takes them too."""
    assert without_password(url) == shown
