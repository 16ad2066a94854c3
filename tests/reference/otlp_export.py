"""The built binary's traces, read by the classes that OpenTelemetry publishes for OTLP.

Publishes go through gRPC, by clients made with grpcio's own tools. The way to the collector is told by OpenTelemetry's
standard variables.

Run by scripts/test-reference.sh, which gives the binary's path.
"""

import gzip
import http.server
import importlib
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import grpc
from grpc_tools import protoc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status

DEADLINE_SECONDS = 60
BINARY = os.environ["TEST_BINARY"]
CONTRACTS = Path(__file__).resolve().parents[2] / "proto"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"


def traceparent(flags="01"):
    return f"00-{TRACE_ID}-{PARENT_ID}-{flags}"


class Collector(http.server.BaseHTTPRequestHandler):
    """Answers every export, and keeps it with its headers."""

    protocol_version = "HTTP/1.1"
    exports = queue.Queue()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.exports.put((self.path, dict(self.headers.items()), body))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


class OtlpExport(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        generated = Path(cls.directory.name, "generated")
        generated.mkdir()
        files = ["eventrelay/v1/eventrelay.proto", "event/event.proto"]
        arguments = ["protoc", f"-I{CONTRACTS}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
        assert protoc.main([*arguments, f"--python_out={generated}", f"--grpc_python_out={generated}", *files]) == 0
        sys.path.insert(0, str(generated))
        cls.v1 = importlib.import_module("eventrelay.v1.eventrelay_pb2")
        cls.v1_grpc = importlib.import_module("eventrelay.v1.eventrelay_pb2_grpc")
        cls.collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
        cls.serving = threading.Thread(target=cls.collector.serve_forever)
        cls.serving.start()
        foreign = ("EVENTRELAY_", "OTEL_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        environment |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{cls.collector.server_port}/otlp/",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20token,x-scope=team",
            "OTEL_SERVICE_NAME": "shop-relay",
            "EVENTRELAY_TELEMETRY__OTLP_COMPRESSION": "gzip",
            "EVENTRELAY_TELEMETRY__EXPORT_INTERVAL_MS": "20",
        }
        Path(cls.directory.name, "eventrelay.toml").write_text(
            '[[subscriptions]]\nname = "archive"\nsink = { kind = "file", directory = "archive" }\n'
        )
        ports = ["--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--tcp-frames-listen", "off"]
        cls.process = subprocess.Popen(
            [BINARY, "serve", *ports], cwd=cls.directory.name, env=environment, stdout=subprocess.PIPE, text=True
        )
        for line in cls.process.stdout:
            found = re.search(r"Listening on grpc://(\S+)", line)
            if found:
                cls.channel = grpc.insecure_channel(found.group(1))
                cls.relay = cls.v1_grpc.EventRelayStub(cls.channel)
                return
        raise AssertionError(f"the relay ended with {cls.process.wait()}")

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()
        cls.process.terminate()
        code = cls.process.wait(timeout=DEADLINE_SECONDS)
        cls.process.stdout.close()
        cls.collector.shutdown()
        cls.collector.server_close()
        cls.serving.join()
        cls.directory.cleanup()
        assert code == 0, f"the relay ended with {code}"

    def event(self, event_type, traceparent):
        return self.v1.Event(type=event_type, source="/shop", headers={"traceparent": traceparent}, json="1")

    def spans(self, count):
        """The next spans in the order of their beginnings, as (resource attributes, span, its attributes)."""
        spans = []
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(spans) < count:
            path, headers, body = Collector.exports.get(timeout=deadline - time.monotonic())
            headers = {name.lower(): value for name, value in headers.items()}
            self.assertEqual(path, "/otlp/v1/traces")
            self.assertEqual(headers["content-type"], "application/x-protobuf")
            self.assertEqual(headers["content-encoding"], "gzip")
            self.assertEqual((headers["authorization"], headers["x-scope"]), ("Bearer token", "team"))
            request = ExportTraceServiceRequest.FromString(gzip.decompress(body))
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    self.assertEqual(scope.scope.name, "eventrelay")
                    spans += [(values(resource.resource.attributes), span, values(span.attributes)) for span in scope.spans]
        self.assertEqual(len(spans), count)
        return sorted(spans, key=lambda told: told[1].start_time_unix_nano)

    def assert_below_the_caller(self, span):
        self.assertEqual((span.trace_id.hex(), span.parent_span_id.hex()), (TRACE_ID, PARENT_ID))
        self.assertEqual(len(span.span_id), 8)
        self.assertLessEqual(abs(time.time_ns() - span.start_time_unix_nano), DEADLINE_SECONDS * 1_000_000_000)
        self.assertLessEqual(span.start_time_unix_nano, span.end_time_unix_nano)
        remote = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
        self.assertEqual(span.flags, remote | 1)

    def test_a_publish_over_grpc_and_its_delivery(self):
        request = self.v1.PublishRequest(events=[self.event("order.created", traceparent())])
        receipt = self.relay.Publish(request, timeout=DEADLINE_SECONDS).receipts[0]
        (resource, publish, published), (_, deliver, delivered) = self.spans(2)
        self.assertEqual(resource["service.name"], "shop-relay")
        for span in (publish, deliver):
            self.assert_below_the_caller(span)
            self.assertEqual(span.status.code, Status.STATUS_CODE_UNSET)
        self.assertEqual((publish.name, publish.kind), ("publish", Span.SPAN_KIND_SERVER))
        self.assertEqual((published["eventrelay.door"], published["eventrelay.outcome"]), ("grpc", "accepted"))
        self.assertEqual(published["cloudevents.event_type"], "order.created")
        self.assertEqual((deliver.name, deliver.kind), ("deliver", Span.SPAN_KIND_PRODUCER))
        self.assertEqual(delivered["messaging.message.id"], receipt.id)
        self.assertEqual(delivered["eventrelay.sink.kind"], "file")
        self.assertEqual(delivered["eventrelay.delivery.attempt"], 1)

    def test_each_message_of_a_stream_is_a_publish(self):
        bad = self.v1.Event(headers={"traceparent": traceparent()})
        requests = [
            self.v1.PublishStreamRequest(sequence=1, events=[self.event("a", traceparent())] * 2),
            self.v1.PublishStreamRequest(sequence=2, events=[bad]),
            self.v1.PublishStreamRequest(sequence=3, events=[self.event("a", traceparent("00"))]),
        ]
        answers = list(self.relay.PublishStream(iter(requests), timeout=DEADLINE_SECONDS))
        self.assertEqual(sum(len(answer.results) for answer in answers), 3)
        spans = self.spans(4)
        for _, span, _ in spans:
            self.assert_below_the_caller(span)
        publishes = {
            attributes["eventrelay.outcome"]: (span.status, attributes)
            for _, span, attributes in spans
            if span.name == "publish"
        }
        self.assertEqual(set(publishes), {"accepted", "invalid_event"})
        self.assertEqual(publishes["accepted"][1]["messaging.batch.message_count"], 2)
        status, attributes = publishes["invalid_event"]
        self.assertEqual((status.code, attributes["error.type"]), (Status.STATUS_CODE_ERROR, "invalid_event"))
        self.assertIn("type", status.message)
        self.assertEqual([span.name for _, span, _ in spans].count("deliver"), 2)


def values(attributes):
    return {attribute.key: getattr(attribute.value, attribute.value.WhichOneof("value")) for attribute in attributes}


if __name__ == "__main__":
    unittest.main()
