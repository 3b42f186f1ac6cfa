"""The image's health check: whether the process in this container answers its liveness probe."""

import urllib.request

urllib.request.urlopen("http://127.0.0.1:7007/.backstage/health/v1/liveness", timeout=2)
