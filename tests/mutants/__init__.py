"""Mutation testing: whether a test fails when the code is changed on purpose."""
