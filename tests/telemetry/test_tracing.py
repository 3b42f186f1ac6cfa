"""Traces: a span for each operation, background job and call, in the format and by the variables of OpenTelemetry."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.repetition import Job, repeat
from standalone.litellm import MASTER_KEY, LiteLLMStandIn
from telemetry.tracing import TracingError, traces_are_on
from tests.conftest import ALICE, SERVICE_TOKEN, MakeService, Service, user_path
from tests.support.processes import listening, output
from tests.support.raw_http import serving
from tests.support.traces import Traces
from tests.support.upstreams import Overriding, answering

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def traces() -> Traces:
    return Traces()


@pytest.fixture
def traced(make_service: MakeService, traces: Traces, litellm: LiteLLMStandIn) -> Service:
    litellm.rows.add_user({"user_id": ALICE})
    return make_service(ports={"tracing": traces.tracing})


def ids_of(span: ReadableSpan) -> tuple[str, str]:
    """The ids of its trace and of itself."""
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


async def test_a_request_and_its_calls_are_one_trace(traced: Service, traces: Traces) -> None:
    """Each span has the request id; the request is named after its operation, and the calls show no query."""
    response = await traced.signed_in(ALICE).get(user_path(ALICE))
    (request,) = traces.named("getUser")
    calls = traces.named("GET LiteLLM")
    assert request.attributes == {
        "litellm_orchestrator.request_id": response.headers["X-Request-Id"],
        "http.request.method": "GET",
        "url.path": user_path(ALICE),
        "http.response.status_code": 200,
    }
    assert request.kind is SpanKind.SERVER
    for call in calls:
        assert (call.kind, call.parent) == (SpanKind.CLIENT, request.get_span_context())
        assert (call.attributes or {})["litellm_orchestrator.request_id"] == response.headers["X-Request-Id"]
        assert (call.attributes or {})["http.response.status_code"] == 200
    assert ALICE not in "".join(call.to_json() for call in calls)


async def test_a_trace_goes_on_from_the_caller_to_litellm(
    make_service: MakeService, litellm: LiteLLMStandIn, traces: Traces
) -> None:
    """W3C Trace Context: the span of the call is the parent of what LiteLLM does."""
    litellm.rows.add_user({"user_id": ALICE})
    to_litellm = Overriding(httpx.ASGITransport(litellm.app), {})
    service = make_service(ports={"tracing": traces.tracing, "litellm": to_litellm})
    await service.signed_in(ALICE).get(user_path(ALICE), headers={"traceparent": TRACEPARENT})
    assert {ids_of(span)[0] for span in traces.spans} == {TRACE}
    (request,) = traces.named("getUser")
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT
    calls = {f"00-{TRACE}-{ids_of(call)[1]}-01" for call in traces.named("GET LiteLLM")}
    assert {request.headers["traceparent"] for request in to_litellm.seen} == calls


@pytest.mark.parametrize("offered", ["", "00-0-0-01", "x" * 5000, f"{TRACEPARENT}-{TRACEPARENT}", "00-é-é-01"])
async def test_a_broken_traceparent_begins_a_new_trace(traced: Service, traces: Traces, offered: str) -> None:
    """A caller cannot break a request with it."""
    response = await traced.signed_in(ALICE).get(user_path(ALICE), headers=[(b"traceparent", offered.encode())])
    assert response.status_code == 200
    (request,) = traces.named("getUser")
    assert request.parent is None


async def test_the_log_names_the_trace(traced: Service, traces: Traces, log: io.StringIO) -> None:
    """Each line that a request writes has the ids of its span, beside its operation and principal."""
    await traced.signed_in(ALICE).get(user_path(ALICE))
    (request,) = traces.named("getUser")
    line = json.loads(log.getvalue().splitlines()[-1])
    assert (line["trace_id"], line["span_id"]) == ids_of(request)
    assert (line["operation"], line["principal"]) == ("getUser", ALICE)


@pytest.mark.parametrize(
    ("answer", "attribute"),
    [
        (httpx.Response(500, text="canary"), ("http.response.status_code", 500)),
        (httpx.ConnectError("canary"), ("error.type", "UpstreamUnavailableError")),
        (httpx.ReadTimeout("canary"), ("error.type", "UpstreamTimeoutError")),
    ],
)
async def test_failures_are_marked(
    make_service: MakeService, traces: Traces, answer: httpx.Response | Exception, attribute: tuple[str, object]
) -> None:
    """The call by its status or the kind of its error, without the message, and the request as well."""
    service = make_service(ports={"tracing": traces.tracing, "litellm": answering(answer)})
    response = await service.signed_in(ALICE).get(user_path(ALICE))
    assert response.status_code >= 500
    spans = traces.named("getUser") + traces.named("GET LiteLLM")
    assert {span.status.status_code for span in spans} == {StatusCode.ERROR}
    assert attribute in (traces.named("GET LiteLLM")[0].attributes or {}).items()
    assert "canary" not in str(traces)


async def test_a_refusal_is_no_failure(traced: Service, traces: Traces) -> None:
    """A 401 is the caller's fault."""
    await traced.client().get(user_path(ALICE))
    (request,) = traces.named("getUser")
    assert request.status.status_code is StatusCode.UNSET


async def test_each_run_of_a_background_job_is_a_trace(traces: Traces) -> None:
    """Two runs are two traces, also if one of them fails."""
    done: list[None] = []

    async def run() -> None:
        done.append(None)
        raise ValueError

    async def until_two(_: float) -> None:
        if len(done) == 2:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await repeat(Job("sweep", run, 1.0), until_two, traced=traces.tracing.job)
    assert len({ids_of(span)[0] for span in traces.named("sweep")}) == 2


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({ENDPOINT: ""}, False),
        ({ENDPOINT: "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", ENDPOINT: "http://collector:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", ENDPOINT: "http://collector:4318"}, False),
    ],
)
def test_the_standard_variables_decide(environment: dict[str, str], *, expected: bool) -> None:
    """Traces are off unless somebody said where to."""
    assert traces_are_on(environment) is expected


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER can be otlp or none, and is zipkin"),
        (
            {ENDPOINT: "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "Traces are exported by http/protobuf only",
        ),
    ],
)
async def test_what_is_not_supported_is_said_at_the_start(environment: dict[str, str], said: str, config: Path) -> None:
    """In one sentence, with exit code 2."""
    with pytest.raises(TracingError, match=said):
        traces_are_on(environment)
    code, printed = await output("serve", "--config", str(config), variables=environment)
    assert (code, said in printed) == (2, True), printed


class Collector:
    """Receives OTLP over HTTP, as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.received: list[ExportTraceServiceRequest] = []
        self.app = Starlette(routes=[Route("/v1/traces", self.receive, methods=["POST"])])

    async def receive(self, request: Request) -> Response:
        assert request.headers["Content-Type"] == "application/x-protobuf"
        self.received.append(ExportTraceServiceRequest.FromString(await request.body()))
        return Response(media_type="application/x-protobuf")


@pytest.fixture
async def config(tmp_path: Path, litellm: LiteLLMStandIn) -> AsyncIterator[Path]:
    litellm.rows.add_user({"user_id": ALICE})
    async with serving(litellm.app) as port:
        path = tmp_path / "app-config.yaml"
        path.write_text(
            f"""
            liteLLM: {{baseUrl: 'http://127.0.0.1:{port}', masterKey: '{MASTER_KEY}', adminGroup: a, allowedGroup: b}}
            backend: {{baseUrl: 'http://127.0.0.1:9', listen: '127.0.0.1:0'}}
            litellmOrchestrator:
              database: {{url: 'sqlite:///{tmp_path}/state.sqlite3'}}
              serviceTokens: [{{token: '{SERVICE_TOKEN}', subject: 'service:ci', role: admin}}]
            """
        )
        yield path


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_collector_gets_the_spans(config: Path, workers: int) -> None:
    """The last ones when the service stops, under the name and with the headers that the environment gives."""
    collector = Collector()
    async with serving(collector.app) as port:
        environment = {ENDPOINT: f"http://127.0.0.1:{port}", "OTEL_SERVICE_NAME": "keys"}
        environment["OTEL_BSP_SCHEDULE_DELAY"] = "60000"  # milliseconds
        arguments = ("serve", "--config", str(config), "--workers", str(workers))
        async with listening(*arguments, variables=environment) as running, httpx.AsyncClient() as client:
            bearer = {"Authorization": f"Bearer {SERVICE_TOKEN}"}
            response = await client.get(running.origin + user_path(ALICE), headers=bearer)
            assert response.status_code == 200
            printed = await running.stop()
    resources = [row for request in collector.received for row in request.resource_spans]
    names = {span.name for row in resources for scope in row.scope_spans for span in scope.spans}
    assert {"getUser", "GET LiteLLM"} <= names
    assert {attribute.value.string_value for row in resources for attribute in row.resource.attributes} >= {"keys"}
    assert SERVICE_TOKEN not in str(collector.received) + printed
    assert MASTER_KEY not in str(collector.received) + printed


async def test_a_collector_that_is_away_costs_a_log_line(config: Path) -> None:
    """Requests are answered, and the stop is not held up for long."""
    environment = {ENDPOINT: "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    async with (
        listening("serve", "--config", str(config), variables=environment) as running,
        httpx.AsyncClient() as client,
    ):
        bearer = {"Authorization": f"Bearer {SERVICE_TOKEN}"}
        response = await client.get(running.origin + user_path(ALICE), headers=bearer)
        printed = await running.stop()
    assert response.status_code == 200
    assert running.process.returncode == 0
    assert "127.0.0.1" in printed
