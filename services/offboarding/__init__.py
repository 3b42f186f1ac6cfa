"""Whoever leaves the group loses access, and nobody else ever does: snapshot, plan, apply."""
