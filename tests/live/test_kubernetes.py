"""Tokens of service accounts, from a real Kubernetes, which KUBECONFIG names. See `docs/testing.md`."""

from __future__ import annotations

import asyncio
import base64
import json
import shlex
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clients.oidc.issuers import Issuers
from domain.errors import UnverifiedTokenError
from domain.workloads import KeySource
from settings.model import Issuer, Timeouts
from tests.conftest import BASE, keys_path
from tests.live.conftest import CHECKOUT, Live
from tests.support.processes import ROOT
from tests.support.requests import exchange

pytestmark = pytest.mark.live

AUDIENCE, RULE, ACCOUNT, POD = "litellm-orchestrator", "pod", "assistant", "assistant-1"
OF_THE_POD = ("--bound-object-kind", "Pod", "--bound-object-name", POD)
ASKED_AGAIN_AFTER_SECONDS = 1.1
"""As long as it has no key of an issuer, the service asks it again after a second."""
GUIDE = (ROOT / "docs" / "workloads.md").read_text()
BINDING = next(part for part in GUIDE.split("`") if part.startswith("kubectl create clusterrolebinding"))


async def kubectl(*arguments: str, given: str = "") -> str:
    """What it prints."""
    process = await asyncio.create_subprocess_exec("kubectl", *arguments, stdin=-1, stdout=-1)
    printed, _ = await process.communicate(given.encode())
    assert process.returncode == 0
    return printed.decode()


@dataclass
class Cluster:
    """A cluster with a service account in a namespace of its own."""

    namespace: str
    url: str
    authorities: str

    async def token(self, *of_pod: str, audience: str = AUDIENCE, account: str = ACCOUNT) -> str:
        """A token of the account as the kubelet gets it, `of_pod` too."""
        options = ["--audience", audience, "--duration", "1h", *of_pod]
        return (await kubectl("-n", self.namespace, "create", "token", account, *options)).strip()

    async def let_everybody_read_the_keys(self) -> None:
        """As the guide says."""
        await kubectl(*shlex.split(BINDING)[1:])


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """With nothing left of the test before."""
    namespace = f"workloads-{uuid.uuid4().hex[:8]}"
    authorities = tmp_path / "ca.crt"
    config = json.loads(await kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    authorities.write_bytes(base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]))
    document = json.loads(await kubectl("get", "--raw", "/.well-known/openid-configuration"))
    await kubectl("delete", "clusterrolebinding", "workload-keys", "--ignore-not-found")
    await kubectl("create", "namespace", namespace)
    for account in (ACCOUNT, "other"):
        await kubectl("-n", namespace, "create", "serviceaccount", account)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD, "namespace": namespace},
        "spec": {
            "serviceAccountName": ACCOUNT,
            "automountServiceAccountToken": False,
            "containers": [{"name": "assistant", "image": "example/assistant"}],
        },
    }
    await kubectl("create", "-f", "-", given=json.dumps(pod))
    yield Cluster(namespace, document["issuer"], str(authorities))
    await kubectl("delete", "clusterrolebinding", "workload-keys", "--ignore-not-found")
    await kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def config(config: Path, cluster: Cluster) -> Path:
    """With a rule for the account."""
    config.write_text(
        config.read_text().rstrip()
        + f"""
          workloads:
            issuers: [{{name: cluster, url: '{cluster.url}', audience: {AUDIENCE}, caFile: {cluster.authorities}}}]
            rules:
              - name: {RULE}
                issuer: cluster
                owner: {CHECKOUT}
                match:
                  sub: system:serviceaccount:{cluster.namespace}:{ACCOUNT}
                  claims: {{kubernetes.io: {{namespace: {cluster.namespace}}}}}
        """
    )
    return config


async def test_a_pod_gets_a_key(live: Live, cluster: Cluster) -> None:
    """Once everybody may read the cluster's keys; before that an admin sees why there is none."""
    bob = live.caller(await live.products.token("bob"))
    async with live.caller(None) as nobody, bob:
        token = await cluster.token(*OF_THE_POD)
        assert (await exchange(nobody, token, client_id=RULE)).status_code == 503
        (issuer,) = (await bob.get(f"{BASE}/workloads")).json()["issuers"]
        assert issuer["problem"] == "Issuer cluster returned status 403 (expected: its discovery document)"
        await cluster.let_everybody_read_the_keys()
        await asyncio.sleep(ASKED_AGAIN_AFTER_SECONDS)
        given = await exchange(nobody, token, client_id=RULE)
        assert given.status_code == 200, given.text
        assert await live.products.chat(given.json()["access_token"]) == 200
        (key,) = (await bob.get(keys_path(CHECKOUT))).json()["keys"]
        assert (key["key_alias"], key["source"]) == (f"{RULE} {POD}", f"workload:{RULE}")
        another_audience = await cluster.token(*OF_THE_POD, audience="vault")
        for refused in (another_audience, await cluster.token(account="other")):
            answer = await exchange(nobody, refused, client_id=RULE)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_keys_in_the_settings_need_no_right(cluster: Cluster) -> None:
    """What `kubectl` prints of the cluster's keys verifies its tokens, and nobody else may read them."""
    keys = KeySource(inline=json.loads(await kubectl("get", "--raw", "/openid/v1/jwks")))
    issuer = Issuer("cluster", cluster.url, AUDIENCE, keys, ca_file=cluster.authorities)
    issuers = Issuers([issuer], timeouts=Timeouts(), now=time.time)
    verified = await issuers.verify("cluster", await cluster.token())
    assert verified.subject == f"system:serviceaccount:{cluster.namespace}:{ACCOUNT}"
    with pytest.raises(UnverifiedTokenError):
        await issuers.verify("cluster", await cluster.token(audience="vault"))
