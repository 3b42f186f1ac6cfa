"""Between uvicorn and the handlers: everything that reaches into connexion and ASGI, and nothing that decides."""
