"""What a rule says of a verified token: whether it matches, what did not, and what was compared."""

from __future__ import annotations

from typing import Any

import pytest

from domain.workloads import ClaimValue, Match, Rule, VerifiedToken, compared, mismatch

SUBJECT = "repo:acme/shop:ref:refs/heads/main"


def rule(sub: str | None = None, *claims: tuple[tuple[str, ...], ClaimValue]) -> Rule:
    """A rule with this match."""
    return Rule("build", "ci", "component:default/shop", Match(sub, claims))


def token(subject: str = SUBJECT, issuer: str = "ci", **claims: Any) -> VerifiedToken:
    """A verified token."""
    return VerifiedToken(issuer, subject, claims, "0" * 64, 0, 1)


def of_kubernetes(claim: Any) -> VerifiedToken:
    """A verified token with this claim of Kubernetes."""
    return VerifiedToken("ci", SUBJECT, {"kubernetes.io": claim}, "0" * 64, 0, 1)


NAMED_AS_ITS_PATH: dict[str, Any] = {"kubernetes.io/namespace": "ci"}
NAMESPACE = (("kubernetes.io", "namespace"), "ci")
KUBERNETES: dict[str, Any] = {"kubernetes.io": {"namespace": "ci", "pod": {"name": "x"}}}


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (rule(SUBJECT), token()),
        (rule("repo:acme/*"), token()),
        (rule("repo:acme/shop:*"), token()),
        (rule("repo:acme/shop:*"), token("repo:acme/shop:x")),
        (rule("a/*"), token("a//")),
        (rule(None, (("a",), "x")), token(a="x", b="y")),
        (rule(None, (("a",), "")), token(a="")),
        (rule(None, (("a",), 1)), token(a=1)),
        (rule(None, (("a",), 2**70)), token(a=2**70)),
        (rule(None, (("a",), True), (("b",), False)), token(a=True, b=False)),
        (rule(None, NAMESPACE), token(**KUBERNETES)),
        (rule("repo:acme/*", NAMESPACE, (("a",), "é")), token(a="é", **KUBERNETES)),
    ],
)
def test_a_match(asked: Rule, given: VerifiedToken) -> None:
    """To the letter and by type."""
    assert mismatch(asked, given) is None


@pytest.mark.parametrize(
    ("asked", "given", "check", "reason"),
    [
        (rule(SUBJECT), token(issuer="cd"), "issuer", 'the token is of "cd", the rule is for "ci"'),
        (rule(), token(), "match", "the rule compares nothing, so nothing matches it"),
        (rule("repo:acme/x"), token(), "sub", f'sub is "{SUBJECT}", expected "repo:acme/x"'),
        (rule(SUBJECT), token("repo:\u0430cme/shop:ref:refs/heads/main"), "sub",
         f'sub is "repo:\\u0430cme/shop:ref:refs/heads/main", expected "{SUBJECT}"'),
        (rule(SUBJECT), token(SUBJECT.upper()), "sub", None),
        (rule(SUBJECT), token(f"{SUBJECT}\n"), "sub", None),
        (rule("a/*"), token("a/"), "sub", 'sub is "a/", expected "a/*"'),
        (rule("a/*"), token("a/*"), "sub", None),
        (rule("a/*"), token("a/b*c"), "sub", None),
        (rule("a/*"), token("xa/b"), "sub", None),
        # Settings refuse these patterns; nothing matches them here either.
        (rule("*"), token("x"), "sub", None),
        (rule("a*"), token("ab"), "sub", None),
        (rule("a/**"), token("a/b"), "sub", None),
        (rule("a/**"), token("a/**"), "sub", None),
        (rule("a/*/b"), token("a/x/b"), "sub", None),
        (rule(""), token("x"), "sub", None),
        (rule(None, (("a",), "x")), token(), "claims.a", 'a is missing, expected "x"'),
        (rule(None, (("a",), "x")), token(a="y"), "claims.a", 'a is "y", expected "x"'),
        (rule(None, (("a",), "1")), token(a=1), "claims.a", 'a is 1, expected "1"'),
        (rule(None, (("a",), 1)), token(a="1"), "claims.a", 'a is "1", expected 1'),
        (rule(None, (("a",), 1)), token(a=True), "claims.a", "a is true, expected 1"),
        (rule(None, (("a",), 1)), token(a=1.0), "claims.a", "a is 1.0, expected 1"),
        (rule(None, (("a",), True)), token(a=1), "claims.a", "a is 1, expected true"),
        (rule(None, (("a",), False)), token(a=0), "claims.a", "a is 0, expected false"),
        (rule(None, (("a",), False)), token(a=None), "claims.a", "a is null, expected false"),
        (rule(None, (("a",), "x")), token(a=["x"]), "claims.a", 'a is ["x"], expected "x"'),
        (rule(None, (("a",), "\u00e9")), token(a="e\u0301"), "claims.a", 'a is "e\\u0301", expected "\\u00e9"'),
        (rule(None, (("a",), "ss")), token(a="\u00df"), "claims.a", None),
        (rule(None, NAMESPACE), of_kubernetes({}), "claims.kubernetes.io/namespace",
         'kubernetes.io/namespace is missing, expected "ci"'),
        (rule(None, NAMESPACE), of_kubernetes("ci"), "claims.kubernetes.io/namespace", None),
        *[
            (rule(None, NAMESPACE), of_kubernetes(claim), "claims.kubernetes.io/namespace", None)
            for claim in ("namespace", ["namespace"], 1, None)
        ],
        (rule(None, NAMESPACE), token(**NAMED_AS_ITS_PATH), "claims.kubernetes.io/namespace", None),
        (rule(None, (("a",), "x"), (("b",), "x")), token(a="x", b="y"), "claims.b", None),
        (rule("x", (("a",), "x")), token(a="y"), "sub", None),
    ],
)  # fmt: skip
def test_the_first_check_that_does_not_match(asked: Rule, given: VerifiedToken, check: str, reason: str | None) -> None:
    """An admin is told which, what was found and what is expected, in ASCII, so that look-alikes differ."""
    found = mismatch(asked, given)
    assert found is not None
    assert found.check == check
    assert reason in {None, found.reason}
    assert found.reason.isascii()


def test_what_is_found_is_cut() -> None:
    """A claim of a stranger does not fill a page."""
    found = mismatch(rule(None, (("a",), "x")), token(a="y" * 10_000))
    assert found is not None
    assert found.reason == f'a is "{"y" * 199}…, expected "x"'


def test_what_was_compared() -> None:
    """The claims that the rule names, as the token has them; the rest of a token is nobody's business."""
    asked = rule("repo:acme/*", NAMESPACE, (("a",), 1), (("b",), True), (("missing",), "x"), (("list",), "x"))
    given = token(a=1, b=True, list=["x"], other="secret", **KUBERNETES)
    assert compared(asked, given) == {"sub": SUBJECT, "kubernetes.io/namespace": "ci", "a": 1, "b": True}
    assert compared(rule(None, (("a",), 1)), given) == {"a": 1}
