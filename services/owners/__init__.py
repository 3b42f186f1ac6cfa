"""Owners of keys that are no people: which there are, who manages them, and what they get."""
