"""This service's own storage, in SQLite or PostgreSQL: one repository per table."""
