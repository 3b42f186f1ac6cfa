"""Stand-ins that speak LiteLLM's and Backstage's HTTP, for standalone mode and for tests.

`tests/conformance` checks them and the real products alike, quirks included. Their secrets protect nothing.
"""
