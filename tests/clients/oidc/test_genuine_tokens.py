"""Tokens of GitHub, GitLab, Kubernetes and others as their documentation shows them match the rules that mean them.

https://docs.github.com/en/actions/concepts/security/openid-connect, https://docs.github.com/en/actions/reference/security/oidc,
https://docs.gitlab.com/ci/secrets/id_token_authentication,
https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin,
https://cloud.google.com/compute/docs/instances/verifying-instance-identity, https://buildkite.com/docs/agent/v3/cli-oidc,
https://developer.hashicorp.com/terraform/cloud-docs/workspaces/dynamic-provider-credentials/workload-identity-tokens
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from domain.workloads import Match, Rule, compared, mismatch
from settings.forms import claims as claims_of
from settings.workloads import problems_of_workloads
from tests.conftest import Clock
from tests.support.issuers import AUDIENCE, RSA, SigningIssuer, issuers_of


@dataclass(frozen=True)
class Genuine:
    """A token of the issuer `url` with these claims, and what a rule says of it. `life` is in seconds."""

    url: str
    sub: str
    claims: dict[str, Any]
    match: dict[str, Any]
    header: dict[str, Any]
    life: int = 300
    audience: str | list[str] = AUDIENCE


GITHUB = {
    "environment": "prod",
    "ref": "refs/heads/main",
    "sha": "example-sha",
    "repository": "octo-org/octo-repo",
    "repository_owner": "octo-org",
    "actor_id": "12",
    "repository_visibility": "private",
    "repository_id": "74",
    "repository_owner_id": "65",
    "run_id": "example-run-id",
    "run_number": "10",
    "run_attempt": "2",
    "runner_environment": "github-hosted",
    "actor": "octocat",
    "workflow": "example-workflow",
    "head_ref": "",
    "base_ref": "",
    "event_name": "workflow_dispatch",
    "enterprise": "avocado-corp",
    "enterprise_id": "2",
    "ref_type": "branch",
    "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
}
GITLAB = {
    "namespace_id": "72",
    "namespace_path": "my-group",
    "project_id": "20",
    "project_path": "my-group/my-project",
    "user_id": "1",
    "user_login": "sample-user",
    "user_email": "sample-user@example.com",
    "user_identities": [
        {"provider": "github", "extern_uid": "2435223452345"},
        {"provider": "bitbucket", "extern_uid": "john.smith"},
    ],
    "pipeline_id": "574",
    "pipeline_source": "push",
    "job_id": "302",
    "ref": "feature-branch-1",
    "ref_type": "branch",
    "ref_path": "refs/heads/feature-branch-1",
    "ref_protected": "false",
    "environment": "test-environment2",
    "environment_protected": "false",
    "deployment_tier": "testing",
    "runner_id": 1,
    "runner_environment": "self-hosted",
    "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
}
KUBERNETES = {
    "kubernetes.io": {
        "namespace": "kube-system",
        "node": {"name": "127.0.0.1", "uid": "58456cb0-dd00-45ed-b797-5578fdceaced"},
        "pod": {"name": "coredns-69cbfb9798-jv9gn", "uid": "778a530c-b3f4-47c0-9cd5-ab018fb64f33"},
        "serviceaccount": {"name": "coredns", "uid": "a087d5a0-e1dd-43ec-93ac-f13d89cd13af"},
        "warnafter": 1_800_003_607,
    }
}
BUILDKITE_ID = "f02d6a6f-7a0e-481d-9d6d-89b427aec48d"
GENUINE = {
    "GitHub": Genuine(
        "https://token.actions.githubusercontent.com",
        "repo:octo-org/octo-repo:environment:prod",
        GITHUB,
        {"sub": "repo:octo-org/octo-repo:environment:prod", "claims": {"repository_id": "74"}},
        {"typ": "JWT", "x5t": "example-thumbprint"},
    ),
    "GitHub, a repository since July 2026": Genuine(
        "https://token.actions.githubusercontent.com",
        "repo:octo-org@65/octo-repo@74:ref:refs/heads/main",
        GITHUB,
        {"sub": "repo:octo-org@65/octo-repo@74:*", "claims": {"repository_owner_id": "65", "ref_type": "branch"}},
        {"typ": "JWT", "x5t": "example-thumbprint"},
    ),
    "GitHub, any repository of an enterprise with an address of its own": Genuine(
        "https://token.actions.githubusercontent.com/avocado-corp",
        "repo:octo-org/octo-repo:pull_request",
        GITHUB,
        {"claims": {"enterprise_id": "2", "base_ref": ""}},
        {"typ": "JWT"},
    ),
    "GitLab": Genuine(
        "https://gitlab.com",
        "project_path:my-group/my-project:ref_type:branch:ref:feature-branch-1",
        GITLAB,
        {"sub": "project_path:my-group/my-project:*", "claims": {"project_id": "20", "runner_id": 1}},
        {"typ": "JWT"},
        life=3600,
    ),
    "GitLab of a company": Genuine(
        "https://gitlab.example.com",
        "project_path:my-group/my-project:ref_type:branch:ref:feature-branch-1",
        GITLAB,
        {"claims": {"namespace_path": "my-group", "ref_protected": "false"}},
        {"typ": "JWT"},
    ),
    "Kubernetes": Genuine(
        "https://kubernetes.default.svc.cluster.local",
        "system:serviceaccount:kube-system:coredns",
        KUBERNETES,
        {"claims": {"kubernetes.io": {"namespace": "kube-system", "serviceaccount": {"name": "coredns"}}}},
        {},
        life=3600,
        audience=[AUDIENCE],
    ),
    "Kubernetes on AKS, whose issuer ends in a slash": Genuine(
        "https://oidc.prod-aks.azure.com/291168e9-1ded-42d8-8608-c9ff8fe7c21b/",
        "system:serviceaccount:azwi-demo:azwi-sa",
        {"kubernetes.io": {"namespace": "azwi-demo", "serviceaccount": {"name": "azwi-sa"}}},
        {"sub": "system:serviceaccount:azwi-demo:*"},
        {},
        life=3600,
        audience=[AUDIENCE],
    ),
    "Google, a service account": Genuine(
        "https://accounts.google.com",
        "107517467455664443765",
        {"azp": "107517467455664443765", "email": "ci@acme.iam.gserviceaccount.com", "email_verified": True},
        {"sub": "107517467455664443765", "claims": {"email_verified": True}},
        {"typ": "JWT"},
        life=3600,
    ),
    "Google, a virtual machine": Genuine(
        "https://accounts.google.com",
        "107517467455664443765",
        {
            "google": {
                "compute_engine": {
                    "project_id": "my-project",
                    "project_number": 739419398126,
                    "zone": "us-west1-a",
                    "instance_id": "152986662232938449",
                    "instance_name": "example",
                    "instance_creation_timestamp": 1496952205,
                }
            }
        },
        {"claims": {"google": {"compute_engine": {"project_number": 739419398126, "instance_name": "example"}}}},
        {"typ": "JWT"},
        life=3600,
    ),
    "Buildkite": Genuine(
        "https://agent.buildkite.com",
        "organization:acme-inc:pipeline:super-duper-app:ref:refs/heads/main:commit:9f3182061f1e2cca4702c368cbc039b7dc9d4485:step:build",
        {
            "organization_slug": "acme-inc",
            "organization_id": BUILDKITE_ID,
            "pipeline_slug": "super-duper-app",
            "build_number": 1,
            "build_branch": "main",
            "build_tag": None,
            "step_key": "build",
            "job_id": "0184990a-477b-4fa8-9968-496074483cee",
            "agent_id": "0184990a-4782-42b5-afc1-16715b10b8ff",
        },
        {"sub": "organization:acme-inc:pipeline:super-duper-app:*", "claims": {"organization_id": BUILDKITE_ID}},
        {"typ": "JWT"},
    ),
    "HCP Terraform": Genuine(
        "https://app.terraform.io",
        "organization:my-org:project:Default Project:workspace:my-workspace:run_phase:apply",
        {
            "terraform_organization_id": "org-GRNbCjYNpBB6NEH9",
            "terraform_organization_name": "my-org",
            "terraform_project_id": "prj-vegSA59s1XPwMr2t",
            "terraform_project_name": "Default Project",
            "terraform_workspace_id": "ws-mbsd5E3Ktt5Rg2Xm",
            "terraform_workspace_name": "my-workspace",
            "terraform_full_workspace": "organization:my-org:project:Default Project:workspace:my-workspace",
            "terraform_run_id": "run-X3n1AUXNGWbfECsJ",
            "terraform_run_phase": "apply",
        },
        {"claims": {"terraform_workspace_id": "ws-mbsd5E3Ktt5Rg2Xm", "terraform_run_phase": "apply"}},
        {"typ": "JWT"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GENUINE)
async def test_a_genuine_token(clock: Clock, name: str) -> None:
    """It verifies, matches a rule that settings accept, and says who it is of; another audience or sub is refused."""
    genuine = GENUINE[name]
    issuer = SigningIssuer(clock, genuine.url, RSA)
    issuers = issuers_of(issuer)
    now = int(clock())
    times = {"iat": now, "nbf": now - 5, "exp": now + genuine.life}
    claims = genuine.claims | times | {"aud": genuine.audience, "sub": genuine.sub}
    token = await issuers.verify("ci", issuer.signed(issuer.header() | genuine.header, issuer.claims(**claims)))
    rule = Rule(
        "build",
        "ci",
        "component:default/shop",
        Match(genuine.match.get("sub"), claims_of(genuine.match.get("claims", {}))),
    )
    assert mismatch(rule, token) is None
    assert (token.subject, token.issued_at, token.expires_at) == (genuine.sub, now, now + genuine.life)
    assert compared(rule, token).keys() == {
        *(["sub"] if rule.match.sub else []),
        *("/".join(path) for path, _ in rule.match.claims),
    }
    assert mismatch(rule, replace(token, subject=f"{genuine.sub}*")) is not None or rule.match.sub is None
    assert list(problems_of_workloads(settings(genuine))) == []


def settings(genuine: Genuine) -> dict[str, Any]:
    """Our block of settings, with the issuer and a rule for it."""
    row = {"name": "build", "issuer": "ci", "owner": "user:default/alice", "match": genuine.match}
    return {"workloads": {"issuers": [{"name": "ci", "url": genuine.url, "audience": AUDIENCE}], "rules": [row]}}
