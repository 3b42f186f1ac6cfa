"""The write path that every change takes."""
