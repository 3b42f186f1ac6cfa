"""`python -m cli`."""

from cli.main import main

main(prog_name="litellm-orchestrator")
