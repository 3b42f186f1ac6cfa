"""Backstage: token verification and the catalog."""
