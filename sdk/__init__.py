"""Clients for programs that call this service."""
