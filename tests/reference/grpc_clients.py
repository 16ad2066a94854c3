"""The built binary's gRPC front door, used by clients made with grpcio's own tools.

The contracts in `proto/` are compiled as a user would compile them; health and reflection are asked by the clients that
come with grpcio.

Run by scripts/test-reference.sh, which gives the binary's path.
"""

import importlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import unittest
import uuid
from pathlib import Path

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc

DEADLINE_SECONDS = 60
BINARY = os.environ["TEST_BINARY"]
CONTRACTS = Path(__file__).resolve().parents[2] / "proto"


def compile_contracts(directory):
    """Makes Python modules of the contracts, and makes them importable."""
    files = ["eventrelay/v1/eventrelay.proto", "event/event.proto", "ingestpb/ingestpb.proto"]
    arguments = ["protoc", f"-I{CONTRACTS}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
    arguments += [f"--python_out={directory}", f"--grpc_python_out={directory}", *files]
    assert protoc.main(arguments) == 0
    sys.path.insert(0, str(directory))


class GrpcClients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        generated = Path(cls.directory.name, "generated")
        generated.mkdir()
        compile_contracts(generated)
        cls.v1 = importlib.import_module("eventrelay.v1.eventrelay_pb2")
        v1_grpc = importlib.import_module("eventrelay.v1.eventrelay_pb2_grpc")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EVENTRELAY_")}
        ports = ["--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--tcp-frames-listen", "off"]
        cls.process = subprocess.Popen(
            [BINARY, "serve", *ports], cwd=cls.directory.name, env=environment, stdout=subprocess.PIPE, text=True
        )
        for line in cls.process.stdout:
            found = re.search(r"Listening on grpc://(\S+)", line)
            if found:
                cls.channel = grpc.insecure_channel(found.group(1))
                cls.relay = v1_grpc.EventRelayStub(cls.channel)
                return
        raise AssertionError(f"the relay ended with {cls.process.wait()}")

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()
        cls.process.terminate()
        code = cls.process.wait(timeout=DEADLINE_SECONDS)
        cls.process.stdout.close()
        cls.directory.cleanup()
        assert code == 0, f"the relay ended with {code}"

    def event(self, **fields):
        return self.v1.Event(type="order.created", source="/shop", **fields)

    def publish(self, *events):
        return self.relay.Publish(self.v1.PublishRequest(events=events), timeout=DEADLINE_SECONDS).receipts

    def refusal(self, call):
        """The status code and the google.rpc.ErrorInfo of a call that is refused."""
        with self.assertRaises(grpc.RpcError) as refused:
            call()
        trailers = dict(refused.exception.trailing_metadata())
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        info = error_details_pb2.ErrorInfo()
        self.assertTrue(any(detail.Unpack(info) for detail in status.details))
        return refused.exception.code(), info

    def test_an_event_comes_back_as_it_was_published(self):
        sent = self.event(
            id=str(uuid.uuid4()), subject="1", time="2026-01-31T12:00:00Z", key="a",
            content_type="application/json", headers={"traceparent": "00-x"}, json='{"order":1}',
        )
        receipt = self.publish(sent)[0]
        found = self.relay.GetEvent(self.v1.GetEventRequest(id=receipt.id), timeout=DEADLINE_SECONDS).event
        self.assertEqual((found.id, found.offset, found.event), (receipt.id, receipt.offset, sent))

    def test_every_kind_of_data(self):
        for data in [{"json": '"äöü ☃"'}, {"text": "hello", "content_type": "text/plain"}, {"binary": bytes(range(256))}]:
            with self.subTest(data=data):
                sent = self.event(**data)
                request = self.v1.GetEventRequest(id=self.publish(sent)[0].id)
                self.assertEqual(self.relay.GetEvent(request, timeout=DEADLINE_SECONDS).event.event, sent)

    def test_a_repeated_publish_is_one_event(self):
        event = self.event(idempotency_key=str(uuid.uuid4()), json="1")
        first, second = self.publish(event)[0], self.publish(event)[0]
        self.assertFalse(first.duplicate)
        self.assertTrue(second.duplicate)
        self.assertEqual((first.id, first.offset), (second.id, second.offset))
        event.json = "2"
        code, info = self.refusal(lambda: self.publish(event))
        self.assertEqual((code, info.reason), (grpc.StatusCode.ALREADY_EXISTS, "idempotency_key_reused"))

    def test_a_refusal_names_its_reason(self):
        code, info = self.refusal(lambda: self.publish(self.event(), self.v1.Event(source="/shop")))
        self.assertEqual((code, info.reason, info.domain), (grpc.StatusCode.INVALID_ARGUMENT, "invalid_event", "eventrelay"))
        self.assertEqual(dict(info.metadata), {"index": "1", "field": "type"})
        absent = self.v1.GetEventRequest(id="x")
        code, info = self.refusal(lambda: self.relay.GetEvent(absent, timeout=DEADLINE_SECONDS))
        self.assertEqual((code, info.reason), (grpc.StatusCode.NOT_FOUND, "event_not_found"))

    def test_a_call_gives_its_trace_to_its_events(self):
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        request = self.v1.PublishRequest(events=[self.event()])
        metadata = [("traceparent", parent)]
        receipt = self.relay.Publish(request, metadata=metadata, timeout=DEADLINE_SECONDS).receipts[0]
        found = self.relay.GetEvent(self.v1.GetEventRequest(id=receipt.id), timeout=DEADLINE_SECONDS).event
        self.assertEqual(dict(found.event.headers), {"traceparent": parent})

    def test_an_event_has_a_status(self):
        receipt = self.publish(self.event())[0]
        answer = self.relay.GetStatus(self.v1.GetStatusRequest(id=receipt.id), timeout=DEADLINE_SECONDS)
        expected = self.v1.GetStatusResponse(id=receipt.id, offset=receipt.offset, status="EVENT_STATUS_DONE")
        self.assertEqual(answer, expected)
        absent = self.v1.GetStatusRequest(id="x")
        code, info = self.refusal(lambda: self.relay.GetStatus(absent, timeout=DEADLINE_SECONDS))
        self.assertEqual((code, info.reason), (grpc.StatusCode.NOT_FOUND, "event_not_found"))

    def test_a_stream_answers_in_order(self):
        count = 2000
        requests = (
            self.v1.PublishStreamRequest(sequence=number, events=[self.event(json=str(number))] * 2)
            for number in range(1, count + 1)
        )
        results = [
            result
            for answer in self.relay.PublishStream(requests, timeout=DEADLINE_SECONDS)
            for result in answer.results
        ]
        self.assertEqual([result.sequence for result in results], list(range(1, count + 1)))
        offsets = [receipt.offset for result in results for receipt in result.stored.receipts]
        self.assertEqual(len(offsets), 2 * count)
        self.assertEqual(offsets, sorted(set(offsets)))

    def test_a_refused_message_does_not_end_its_stream(self):
        messages = [[self.event()], [self.v1.Event()], [self.event()]]
        requests = (
            self.v1.PublishStreamRequest(sequence=number, events=events) for number, events in enumerate(messages)
        )
        answers = self.relay.PublishStream(requests, timeout=DEADLINE_SECONDS)
        outcomes = [result.WhichOneof("outcome") for answer in answers for result in answer.results]
        self.assertEqual(outcomes, ["stored", "refused", "stored"])

    def test_a_subscriber_sees_what_comes(self):
        start = self.publish(self.event(json="0"))[0].offset
        stream = self.relay.Subscribe(self.v1.SubscribeRequest(offset=start), timeout=DEADLINE_SECONDS)
        publisher = threading.Thread(target=lambda: [self.publish(self.event(json="1")) for _ in range(10)])
        publisher.start()
        seen = []
        while len(seen) < 11:
            seen += [event.offset for event in next(stream).events]
        publisher.join()
        stream.cancel()
        self.assertEqual(seen[:11], list(range(start, start + 11)))

    def test_clients_of_other_ingesters(self):
        event, event_grpc = (importlib.import_module(f"event.event_pb2{suffix}") for suffix in ("", "_grpc"))
        request = event.EventRequest(event_id=str(uuid.uuid4()), payload="{}", timestamp=1)
        service = event_grpc.EventServiceStub(self.channel)
        answers = [service.IngestEvent(request, timeout=DEADLINE_SECONDS) for _ in range(2)]
        self.assertTrue(all(answer.accepted for answer in answers))
        self.assertEqual(answers[0].job_id, answers[1].job_id)
        for job_id, expected in [(answers[0].job_id, "done"), ("x", "not found")]:
            answer = service.GetStatus(event.StatusRequest(job_id=job_id), timeout=DEADLINE_SECONDS)
            self.assertEqual(answer.status, expected)

        logs, logs_grpc = (importlib.import_module(f"ingestpb.ingestpb_pb2{suffix}") for suffix in ("", "_grpc"))
        messages = (logs.LogEvent(id=str(uuid.uuid4()), data=b"\x00\xff", timestamp=1) for _ in range(100))
        acks = logs_grpc.IngestorStub(self.channel).StreamLogs(messages, timeout=DEADLINE_SECONDS)
        self.assertEqual([ack.ok for ack in acks], [True] * 100)

    def test_health(self):
        health = health_pb2_grpc.HealthStub(self.channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE_SECONDS)
        self.assertEqual(answer.status, health_pb2.HealthCheckResponse.SERVING)

    def test_reflection_shows_the_contracts(self):
        database = ProtoReflectionDescriptorDatabase(self.channel)
        services = set(database.get_services())
        self.assertLessEqual(
            {"eventrelay.v1.EventRelay", "event.EventService", "ingestpb.Ingestor", "grpc.health.v1.Health"}, services
        )
        service = DescriptorPool(database).FindServiceByName("eventrelay.v1.EventRelay")
        methods = {"Publish", "PublishStream", "GetEvent", "GetStatus", "Subscribe", "Consume"}
        self.assertEqual(set(service.methods_by_name), methods)

    def test_the_readmes_request_works_for_who_knows_the_server_alone(self):
        # As grpcurl does it: the contract by reflection, the request as JSON.
        readme = (CONTRACTS.parent / "README.md").read_text()
        request, path = re.search(r"^grpcurl -plaintext -d '(.*)' 127\.0\.0\.1:50051 (\S+)$", readme, re.M).groups()
        service, method = path.split("/")
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))
        described = pool.FindServiceByName(service).methods_by_name[method]
        call = self.channel.unary_unary(
            f"/{path}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(described.output_type).FromString,
        )
        answer = call(json_format.Parse(request, GetMessageClass(described.input_type)()), timeout=DEADLINE_SECONDS)
        self.assertEqual(len(answer.receipts), 1)


if __name__ == "__main__":
    unittest.main()
