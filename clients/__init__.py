"""The outside world over HTTP. Every quirk of LiteLLM's and Backstage's stays in here."""
