"""Off-boarding: people who leave both groups lose access, and nobody else does. Snapshot, plan, execution."""
