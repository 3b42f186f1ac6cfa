"""The trial of `make run`, as somebody sees it who opens the console for the first time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.console.conftest import Opened, create
from tests.standalone.pasting import pasted

pytestmark = pytest.mark.console


PYTHON, NODE = (sys.executable, "-"), ("node", "--input-type=module")
# The libraries that the code names, as far as it uses them: each sends the request that the real one sends for it.
OPENAI = """
import json
from types import SimpleNamespace
from urllib.request import Request, urlopen

class OpenAI:
    def __init__(self, *, base_url, api_key):
        headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
        def create(**asked):
            answer = urlopen(Request(f"{base_url}/chat/completions", json.dumps(asked).encode(), headers))
            return json.load(answer, object_hook=lambda fields: SimpleNamespace(**fields))
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=create))
"""
LANGCHAIN = """
from openai import OpenAI

class ChatOpenAI:
    def __init__(self, *, model, base_url, api_key):
        self.model, self.client = model, OpenAI(base_url=base_url, api_key=api_key)

    def invoke(self, text):
        messages = [{"role": "user", "content": text}]
        return self.client.chat.completions.create(model=self.model, messages=messages).choices[0].message
"""
OPENAI_JS = """
export default class OpenAI {
  constructor({ baseURL, apiKey }) {
    const headers = { Authorization: `Bearer ${apiKey}`, 'Content-Type': 'application/json' };
    const create = async asked => {
      const body = JSON.stringify(asked);
      return (await fetch(`${baseURL}/chat/completions`, { method: 'POST', headers, body })).json();
    };
    this.chat = { completions: { create } };
  }
}
"""
CLAUDE = """#!/bin/sh
curl -sf "$ANTHROPIC_BASE_URL/v1/messages" -H "Authorization: Bearer $ANTHROPIC_AUTH_TOKEN" \\
  -d '{"model": "'$ANTHROPIC_MODEL'", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}' |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["content"][0]["text"])'
"""


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where Python, Node and a shell find what the code names."""
    package = tmp_path / "node_modules" / "openai"
    package.mkdir(parents=True)
    (package / "index.mjs").write_text(OPENAI_JS)
    (package / "package.json").write_text('{"exports": "./index.mjs"}')
    (tmp_path / "openai.py").write_text(OPENAI)
    (tmp_path / "langchain_openai.py").write_text(LANGCHAIN)
    (tmp_path / "claude").write_text(CLAUDE)
    (tmp_path / "claude").chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


async def test_the_snippet_that_is_shown_answers(trial: Opened) -> None:
    """Copied from the page and pasted into a shell; then the key has been used, and Spending knows it by its name."""
    page = trial.page
    await trial.sign_in("alice")
    await create(page, "pasted")
    snippet = await page.get_by_role("tabpanel").inner_text()
    assert json.loads(await pasted(snippet))["choices"][0]["message"]["content"] == "hi"
    await page.get_by_role("button", name="I saved the key").click()
    await page.get_by_role("link", name="Spending").click()
    await page.get_by_text("Key", exact=True).click()
    row = page.locator("tbody tr", has_text="pasted")
    await expect(row.locator("td.num").nth(0)).to_have_attribute("title", "$0.000225")
    await expect(row.locator("td.num").nth(1)).to_have_text("1")


async def test_the_code_for_every_tool_answers(trial: Opened, libraries: Path) -> None:
    """Copied as it is shown and run: address, key and model in it are those of a call that is counted."""
    page = trial.page
    await trial.sign_in("alice")
    await create(page, "every tool")
    programs = {"Python": PYTHON, "JavaScript": NODE, "LangChain": PYTHON, "Claude Code": ()}
    for tool, program in programs.items():
        await page.get_by_role("tab", name=tool).click()
        printed = await pasted(await page.get_by_role("tabpanel").inner_text(), *program, cwd=libraries)
        assert (tool, printed.strip()) == (tool, "hi")
    await page.get_by_role("button", name="I saved the key").click()
    await page.get_by_role("link", name="Spending").click()
    await page.get_by_text("Key", exact=True).click()
    row = page.locator("tbody tr", has_text="every tool")
    await expect(row.locator("td.num").nth(1)).to_have_text(str(len(programs)))


async def test_no_view_is_empty_at_first_sight(trial: Opened) -> None:
    """Alice has keys, and has spent something; bob has users, an audit log, a run of the cleanup, and health."""
    page = trial.page
    await trial.sign_in("alice")
    for alias in ("laptop", "ci", "notebook", "agent"):
        await expect(page.locator("tbody tr", has_text=alias)).to_have_count(1)
    await page.get_by_role("link", name="Spending").click()
    await expect(page.locator("svg rect").first).to_be_visible()
    await page.reload()
    await page.get_by_role("button", name="bob").click()
    await trial.loaded()
    for view, shows in {
        "Users": "dave",
        "Audit log": "frank",
        "Off-boarding": "frank",
        "Health": "Up",
    }.items():
        await page.get_by_role("link", name=view).click()
        await expect(page.locator("main").get_by_text(shows).first).to_be_visible()
