"""`python -m litellm_orchestrator_client.cli` is `litellm-key`."""

from . import main

if __name__ == "__main__":
    main()
