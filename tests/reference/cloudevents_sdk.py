"""CloudEvents posted to the built binary in all three modes, made and read by the SDK of the CloudEvents project.

The SDK has no batched mode; a batch is an array of what its JSON format writes. Events are read back in structured mode,
by the SDK again, and in the native form.

Run by scripts/test-reference.sh, which gives the binary's path.
"""

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
import uuid
from datetime import datetime, timedelta, timezone

from cloudevents.core.bindings.http import (
    HTTPMessage,
    from_http_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1.conversion import to_binary as older_to_binary
from cloudevents.v1.conversion import to_structured as older_to_structured
from cloudevents.v1.http import CloudEvent as OlderCloudEvent

DEADLINE_SECONDS = 60
BINARY = os.environ["TEST_BINARY"]

# What is compared: the attributes that a producer chooses, and the data.
KINDS = {
    "JSON": ({"datacontenttype": "application/json"}, {"order": 1, "names": ["äöü ☃ 𝄞", "\u2028"], "none": None}),
    "JSON that says nothing of itself": ({}, {"order": 2}),
    "text": ({"datacontenttype": "text/plain"}, "hello, wörld %25"),
    "XML": ({"datacontenttype": "application/xml"}, "<order n=\"1\">&amp;</order>"),
    "bytes": ({"datacontenttype": "application/octet-stream"}, bytes(range(256))),
    "no data": ({}, None),
}


def attributes(**more):
    """Attributes of an event that no other has."""
    return {
        "id": str(uuid.uuid4()),
        "source": "https://shop.example/orders?x=%20y",
        "type": "com.example.order.created",
        "specversion": "1.0",
        "time": datetime(2026, 1, 31, 12, 0, 0, 250000, timezone(timedelta(hours=1))),
        "subject": "order 7 ☃ \"quoted\" 100%",
        "partitionkey": "customer-1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        **more,
    }


class CloudEventsSdk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EVENTRELAY_")}
        environment["EVENTRELAY_TCP__FRAMES_LISTEN"] = "off"
        cls.relay = subprocess.Popen(
            [BINARY, "serve", "--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"],
            cwd=cls.directory.name, env=environment, stdout=subprocess.PIPE, text=True,
        )
        for line in cls.relay.stdout:
            found = re.search(r"Listening on http://(\S+)", line)
            if found:
                cls.address = found.group(1)
                return
        raise AssertionError(f"the relay ended with {cls.relay.wait()}")

    @classmethod
    def tearDownClass(cls):
        cls.relay.terminate()
        code = cls.relay.wait(timeout=DEADLINE_SECONDS)
        cls.relay.stdout.close()
        cls.directory.cleanup()
        assert code == 0, f"the relay ended with {code}"

    def exchange(self, method, path, headers, body=None):
        """Sends these headers and no others: urllib would make up a Content-Type."""
        connection = http.client.HTTPConnection(self.address, timeout=DEADLINE_SECONDS)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, dict(answer.headers.items()), answer.read()
        finally:
            connection.close()

    def post(self, headers, body):
        status, _, answer = self.exchange("POST", "/v1/events", headers, body or b"")
        self.assertEqual(status, 201, answer)
        return json.loads(answer)

    def get(self, receipt, accept):
        status, headers, body = self.exchange("GET", f"/v1/events/{receipt['id']}", {"accept": accept})
        self.assertEqual(status, 200, body)
        return headers, body

    def assert_comes_back(self, receipt, event):
        """The event as the SDK reads it from the relay is the one that it sent."""
        headers, body = self.get(receipt, "application/cloudevents+json")
        found = from_http_event(HTTPMessage(headers=headers, body=body))
        self.assertEqual(found.get_attributes(), {**found.get_attributes(), **event.get_attributes()})
        self.assertEqual(set(found.get_attributes()) - set(event.get_attributes()) - {"datacontenttype"}, set())
        self.assertEqual(found.get_data(), event.get_data())
        _, native = self.get(receipt, "application/json")
        native = json.loads(native)
        self.assertEqual(
            (native["id"], native["client_id"], native["type"], native["key"]),
            (receipt["id"], event.get_id(), event.get_type(), event.get_extension("partitionkey")),
        )

    def events(self):
        return [CloudEvent(attributes(**more), data) for more, data in KINDS.values()]

    def test_structured_mode(self):
        for kind, event in zip(KINDS, self.events()):
            with self.subTest(kind=kind):
                message = to_structured_event(event)
                self.assert_comes_back(self.post(message.headers, message.body), event)

    def test_binary_mode(self):
        for kind, event in zip(KINDS, self.events()):
            with self.subTest(kind=kind):
                message = to_binary_event(event)
                self.assert_comes_back(self.post(message.headers, message.body), event)

    def test_batched_mode(self):
        events = self.events()
        body = b"[" + b",".join(JSONFormat().write(event) for event in events) + b"]"
        receipts = self.post({"content-type": "application/cloudevents-batch+json"}, body)
        self.assertEqual(len(receipts), len(events))
        for kind, receipt, event in zip(KINDS, receipts, events):
            with self.subTest(kind=kind):
                self.assert_comes_back(receipt, event)

    def test_an_event_is_the_same_in_every_mode(self):
        event = CloudEvent(attributes(datacontenttype="application/json"), {"order": 3})
        structured, binary = to_structured_event(event), to_binary_event(event)
        first = self.post(structured.headers, structured.body)
        batch = b"[" + JSONFormat().write(event) + b"]"
        again = [
            self.post(binary.headers, binary.body),
            self.post({"content-type": "application/cloudevents-batch+json"}, batch)[0],
        ]
        self.assertFalse(first["duplicate"])
        for receipt in again:
            self.assertEqual(receipt, {**first, "duplicate": True})

    def test_the_interface_of_the_sdk_before_version_2(self):
        for make in [older_to_structured, older_to_binary]:
            with self.subTest(make=make):
                event = OlderCloudEvent({"type": "order.created", "source": "/shop"}, {"order": 4})
                receipt = self.post(*make(event))
                _, native = self.get(receipt, "application/json")
                native = json.loads(native)
                self.assertEqual(
                    (native["client_id"], native["type"], native["data"]), (event["id"], event["type"], {"order": 4})
                )

    def test_what_is_no_event_of_version_1_is_refused(self):
        message = to_structured_event(CloudEvent(attributes(), {"order": 5}))
        body = json.loads(message.body)
        for change in [{"specversion": "0.3"}, {"id": ""}, {"source": None}]:
            with self.subTest(change=change):
                changed = json.dumps({**body, **change}).encode()
                status, _, answer = self.exchange("POST", "/v1/events", message.headers, changed)
                self.assertEqual((status, json.loads(answer)["status"]), (400, 400))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
