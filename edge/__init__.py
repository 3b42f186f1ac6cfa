"""Between uvicorn and the handlers: everything that reaches into connexion and ASGI, and nothing that decides."""

import warnings

# connexion imports starlette's test client even where nothing is tested; starlette warns of its choice of library.
warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient` is deprecated")
