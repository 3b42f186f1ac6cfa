"""API keys: create, read, update, rotate, delete, report."""
