"""Between uvicorn and the handlers: everything that touches connexion and ASGI. Makes no decisions."""

import warnings

# connexion imports starlette's test client even outside of tests, and starlette warns about its HTTP library.
warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient` is deprecated")
