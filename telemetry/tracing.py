"""Traces by OpenTelemetry, configured by its own environment variables.

They are off unless one of `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and
`OTEL_TRACES_EXPORTER=otlp` is set. The SDK reads the other variables itself
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
Names of attributes: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import SplitResult, urlsplit

import structlog
from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, format_span_id, format_trace_id

_NAME = "litellm-orchestrator"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_REQUEST_ID = "litellm_orchestrator.request_id"


class TracingError(Exception):
    """The environment asks for something that is not supported. The message says what to set instead."""


class Tracing:
    """Makes the spans of one process. No attribute holds a query, a header or a body."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(_NAME)

    @contextmanager
    def request(self, headers: Mapping[str, str]) -> Iterator[RequestSpan]:
        """The span of a request, within the trace of its caller if `headers` (in lower case) name one."""
        with self._entry("request", SpanKind.SERVER, propagate.extract(headers)) as span:
            yield RequestSpan(span)

    @contextmanager
    def job(self, name: str) -> Iterator[None]:
        """The span of one run of a background job."""
        with self._entry(name, SpanKind.INTERNAL, Context()):
            yield

    @contextmanager
    def call(self, upstream: str, method: str, url: str) -> Iterator[CallSpan]:
        """The span of one attempt of a call to LiteLLM or Backstage. An exception marks it as failed."""
        with self._span(f"{method} {upstream}", SpanKind.CLIENT, None) as span:
            parts = urlsplit(url)
            span.set_attributes({"http.request.method": method, "url.path": parts.path, **_address(parts)})
            yield CallSpan(span)

    def shutdown(self) -> None:
        """Exports what was not exported yet."""
        self._provider.shutdown()

    @contextmanager
    def _entry(self, name: str, kind: SpanKind, parent: Context) -> Iterator[Span]:
        with self._span(name, kind, parent) as span:
            context = span.get_span_context()
            ids = {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}
            with structlog.contextvars.bound_contextvars(**ids):
                yield span

    @contextmanager
    def _span(self, name: str, kind: SpanKind, parent: Context | None) -> Iterator[Span]:
        # An exception's message may quote what a caller sent, so only its type is recorded.
        with self._tracer.start_as_current_span(
            name, parent, kind, record_exception=False, set_status_on_exception=False
        ) as span:
            request_id = structlog.contextvars.get_contextvars().get("request_id")
            if request_id is not None:
                span.set_attribute(_REQUEST_ID, request_id)
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(StatusCode.ERROR)
                raise


class RequestSpan:
    """The span of a request, which learns at its end what the request was."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def describe(self, *, operation: str, method: str, path: str, status: int) -> None:
        """Names it after its operation. A status of 500 or more, or of 0 for no response, marks it as failed."""
        self._span.update_name(operation)
        self._span.set_attributes({"http.request.method": method, "url.path": path})
        _set_status(self._span, status)


class CallSpan:
    """The span of a call."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @staticmethod
    def headers() -> dict[str, str]:
        """What tells the upstream about the trace (`OTEL_PROPAGATORS`, by default W3C Trace Context)."""
        headers: dict[str, str] = {}
        propagate.inject(headers)
        return headers

    def answered(self, status: int) -> None:
        """Records the status. Only 500 or more marks it as failed: LiteLLM says with a 404 that a user is new."""
        _set_status(self._span, status)


def tracing_from(environment: Mapping[str, str], version: str) -> Tracing | None:
    """The tracing that the environment asks for, or None. Raises TracingError."""
    if not traces_are_on(environment):
        return None
    # It takes 5 MiB of memory that a service without traces does not need.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    resource = Resource.create({SERVICE_VERSION: version})
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: _NAME}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


def traces_are_on(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces. Raises TracingError if it asks for what is not supported."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if exporter not in {"", "otlp", "none"}:
        raise TracingError(f"OTEL_TRACES_EXPORTER can be otlp or none, and is {exporter}")
    if exporter == "none" or not (exporter or any(environment.get(name) for name in _ENDPOINTS)):
        return False
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        raise TracingError(f"Traces are exported by http/protobuf only: {' or '.join(_PROTOCOLS)} is {protocol}")
    return True


def _address(parts: SplitResult) -> dict[str, str | int]:
    address: dict[str, str | int] = {"server.address": parts.hostname or ""}
    return address if parts.port is None else address | {"server.port": parts.port}


def _set_status(span: Span, status: int) -> None:
    if status:
        span.set_attribute("http.response.status_code", status)
    if not 0 < status < 500:
        span.set_status(StatusCode.ERROR)
