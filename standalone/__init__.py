"""Stand-ins that speak LiteLLM's and Backstage's HTTP, for standalone mode and for tests.

They hold what `tests/conformance` asks of them and of the real products alike, quirks included. No secret in them
protects anything.
"""
