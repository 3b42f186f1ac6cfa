# The service in an image: no compiler, no package manager of Python, no write access to anything but its state.
# BASE is a Debian with Python 3.11 or later and its venv module.
ARG BASE=docker.io/library/python:3.11.11-slim-bookworm

FROM ${BASE} AS build
COPY requirements.lock /build/
RUN python3 -m venv /opt/orchestrator \
 && /opt/orchestrator/bin/python -m pip install --no-cache-dir --require-hashes --requirement /build/requirements.lock \
 && /opt/orchestrator/bin/python -m pip uninstall --yes pip setuptools
COPY openapi.yaml /app/
COPY app /app/app
COPY cli /app/cli
COPY clients /app/clients
COPY console/page /app/console/page
COPY domain /app/domain
COPY edge /app/edge
COPY handlers /app/handlers
COPY services /app/services
COPY settings /app/settings
COPY state /app/state
COPY telemetry /app/telemetry
# The root file system is read-only, so Python could not cache what it compiles.
RUN /opt/orchestrator/bin/python -m compileall -q /app
# Both stages have the same packages of Debian.
COPY deploy/bill.py /build/
RUN /opt/orchestrator/bin/python /build/bill.py > /app/bill-of-materials.cdx.json

FROM ${BASE}
LABEL org.opencontainers.image.title="litellm-orchestrator" \
      org.opencontainers.image.description="Self-service for LiteLLM users and keys, authorised by Backstage" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/orchestrator /opt/orchestrator
COPY --from=build /app /app
COPY deploy/healthcheck.py /app/
# SQLite's file is in the working directory; with PostgreSQL nothing is written there. Metrics of several workers meet in /tmp.
RUN mkdir /etc/litellm-orchestrator \
 && mkdir --mode=0700 /var/lib/litellm-orchestrator \
 && chown 10001:10001 /var/lib/litellm-orchestrator
WORKDIR /var/lib/litellm-orchestrator
VOLUME /var/lib/litellm-orchestrator
ENV PATH=/opt/orchestrator/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 7007
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python3", "/app/healthcheck.py"]
ENTRYPOINT ["python3", "-m", "cli"]
CMD ["serve", "--config", "/etc/litellm-orchestrator/app-config.yaml", "--host", "0.0.0.0", "--port", "7007"]
