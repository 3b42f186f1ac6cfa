"""The rules, one package per capability."""
