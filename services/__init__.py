"""The rules of the service. They know nothing of HTTP."""
