"""The service on stand-ins with the contents of a file, for the tests of its callers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from standalone.seed import SeedError, seeded_stand_ins
from tests.conftest import ALICE, BASE, BOB, CAROL, keys_path, user_path
from tests.standalone.pasting import curl_snippet, pasted
from tests.support.processes import ROOT, listening, output

EXAMPLE = ROOT / "docs" / "mock.yaml"


def signed_in(origin: str, user: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=origin, headers={"Authorization": f'Bearer mock-user-token:{{"sub":"{user}"}}'})


async def test_the_example_is_served() -> None:
    """People, their roles, users and keys are those of the file; what was spent is in the usage, and the keys work."""
    async with listening("--port", "0", "--seed", str(EXAMPLE), program="standalone") as running:
        async with signed_in(running.origin, ALICE) as alice, signed_in(running.origin, BOB) as bob:
            keys = {row["key_alias"]: row for row in (await alice.get(keys_path(ALICE))).json()["keys"]}
            assert keys.keys() == {"laptop", "ci", "trial"}
            assert (keys["laptop"]["spend"], keys["laptop"]["metadata"]) == (4.25, {"team": "search"})
            assert (keys["ci"]["blocked"], keys["trial"]["expires"] is not None) == (True, True)
            user = (await alice.get(user_path(ALICE))).json()
            assert (user["spend"], user["maxBudget"], user["budgetDuration"]) == (12.5, 100, "30d")
            listed = (await bob.get(f"{BASE}/users")).json()["users"]
            assert [row["userId"] for row in listed] == [ALICE, "user:default/frank"]
            usage = (await alice.get(f"{user_path(ALICE)}/usage?groupBy=key")).json()
            assert usage["total"]["spend"] == user["spend"]
            assert {row["alias"]: row["figures"]["spend"] for row in usage["groups"]} == {"laptop": 4.25, "ci": 8.25}
            address = (await alice.get(f"{BASE}/console/settings")).json()["modelsUrl"]
        snippets = [curl_snippet(f"sk-mock-{name}", address, "gpt-fake") for name in ("trial", "ci-0000")]
        called = [json.loads(await pasted(snippet)) for snippet in snippets]
        assert called[0]["choices"][0]["message"]["content"] == "hi"
        assert "Key is blocked" in called[1]["error"]["message"]
        async with signed_in(running.origin, CAROL) as carol:
            assert (await carol.get(f"{BASE}/me")).status_code == 403


@pytest.mark.parametrize(
    ("seed", "says"),
    [
        ("{", "is not YAML"),
        ([], "is not of type 'object'"),
        ({"user": []}, "Additional properties are not allowed ('user' was unexpected)"),
        ({"people": {"alice": {"role": "member"}}}, "people.alice is not a user ref such as user:default/alice"),
        ({"people": {ALICE: {"role": "owner"}}}, "'owner' is not one of ['member', 'admin', 'none']"),
        ({"users": [{"userId": ALICE, "budgetDuration": "soon"}]}, "The budgetDuration soon of user:default/alice"),
        ({"users": [{"userId": ALICE, "keys": [{"secret": "x"}]}]}, "users.0.keys.0.secret"),
    ],
    ids=str,
)
def test_a_seed_that_is_wrong_gets_a_sentence(tmp_path: Path, seed: Any, says: str) -> None:
    """It names the place, and what would be right."""
    path = tmp_path / "seed.yaml"
    path.write_text(seed if isinstance(seed, str) else yaml.safe_dump(seed))
    with pytest.raises(SeedError) as raised:
        seeded_stand_ins(path)
    assert says in str(raised.value)


async def test_a_seed_that_is_missing_ends_the_command() -> None:
    """With exit code 2 and no trace."""
    code, printed = await output("--seed", "/nowhere/seed.yaml", program="standalone")
    assert (code, "/nowhere/seed.yaml cannot be read" in printed, "Traceback" in printed) == (2, True, False)
