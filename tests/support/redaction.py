"""Both columns of every table about masking: secrets that must go, and words that must stay."""

from __future__ import annotations

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"
PEM = "\n".join(
    [
        "-----BEGIN EC PRIVATE KEY-----",
        "MHcCAQEEIO0uT5sJ" * 4,
        "AwEHoUQDQgAEq3mz" * 4,
        "Zm9vYmFy",
        "-----END EC PRIVATE KEY-----",
    ]
)
SECRETS = [
    "sk-3vXq8Zr1TgB-_aYwLmNoPd",
    "sk-1234",
    "sk-canary_1-2",
    "sk-found-in-a-repository",
    JWT,
    JWT.rpartition(".")[0],
    "Bearer 0123456789abcdef",
    "bearer AbCdEfGhIjKlMnOpQrStUvWx",
    "Basic dXNlcjpwYXNzd29yZDE=",
    PEM,
    "lod_Jc0Wz0Yq1mT9x2nKQv5sR8uB3dF6hL7pA4eG1iM0oNs",
    "lor_0rSaLq5kXo2mVZ1cJ8tN4yB7wE3uH6gD9fK0iQpRsTv",
]
"""By their form, whoever's they are."""

WORDS = [
    "desk-lamp", "risk-analyst", "task-1", "disk-usage-2026", "whisk-ey-0123456789", "mask-0123456789abcdef",
    "sk-learn", "sk-SK", "Desk-Lamp-12345678", "heyJude.mp3", "eyJoe.txt", "bearer of news", "Bearer authentication",
    "basic training", "Send Authorization: Bearer <Backstage token>", "postgresql", "dbt",
    "-----BEGIN CERTIFICATE-----", "floor_plan", "lor_em", "color_0123456789abcdef",
]  # fmt: skip

KNOWN = {
    "quotes": 'it\'s "quoted" in here',
    "backslashes": "back\\slash\\\\and\\",
    "newlines": "line one\nline two\r\nline three",
    "a private key": PEM,
    "letters": "p\u00e4ssw\u00f6rt-\u5bc6\u78bc-\U0001f600",
    "a URL's characters": "a/b?c=d&e#f%20g+h@i:j",
    "plain": "canary.of.the.catalog",
}
"""Secrets of an operator, which have no form."""
