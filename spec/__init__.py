"""Tools for the contract itself. Not part of the running service."""
