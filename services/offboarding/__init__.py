"""Off-boarding: whoever leaves both groups loses access, and nobody else does. Snapshot, plan, execution."""
