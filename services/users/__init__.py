"""LiteLLM users: create, read, update, tiers and membership."""
