"""The built binary's webhook deliveries, checked by the reference library of Standard Webhooks.

One subscription signs with an old and a new symmetric secret (a rotation) and with an ed25519 key; another with one
symmetric secret. The reference library checks every `v1` entry; it knows no `v1a`, which `cryptography` checks.

Run by scripts/test-reference.sh, which gives the binary's path.
"""

import base64
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from standardwebhooks import Webhook, WebhookVerificationError

DEADLINE_SECONDS = 60
BINARY = os.environ["TEST_BINARY"]


def symmetric_secret():
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


class Receiver:
    """Takes deliveries, and hands them over by path."""

    def __init__(self):
        self.deliveries = {"/rotating": queue.Queue(), "/single": queue.Queue()}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.deliveries[self.path].put((dict(self.headers.items()), body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def next(self, path):
        return self.deliveries[path].get(timeout=DEADLINE_SECONDS)


class WebhookSignatures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.receiver = Receiver()
        cls.old, cls.new, cls.single = symmetric_secret(), symmetric_secret(), symmetric_secret()
        cls.key = Ed25519PrivateKey.generate()
        seed = cls.key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        asymmetric = "whsk_" + base64.b64encode(seed).decode()
        cls.directory = tempfile.TemporaryDirectory()
        Path(cls.directory.name, "eventrelay.toml").write_text(
            f"""
            [http]
            listen = "127.0.0.1:0"
            [grpc]
            listen = "127.0.0.1:0"
            [tcp]
            frames_listen = "off"
            [egress]
            allow_private_addresses = true
            [[subscriptions]]
            name = "rotating"
            sink = {{ kind = "webhook", url = "{cls.receiver.url("/rotating")}", secrets = ["{cls.new}", "{cls.old}", "{asymmetric}"] }}
            [[subscriptions]]
            name = "single"
            sink = {{ kind = "webhook", url = "{cls.receiver.url("/single")}", secrets = ["{cls.single}"] }}
            """
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EVENTRELAY_")}
        cls.relay = subprocess.Popen(
            [BINARY, "serve"], cwd=cls.directory.name, env=environment, stdout=subprocess.PIPE, text=True
        )
        for line in cls.relay.stdout:
            found = re.search(r"Listening on (http://\S+)", line)
            if found:
                cls.url = found.group(1)
                return
        raise AssertionError(f"the relay ended with {cls.relay.wait()}")

    @classmethod
    def tearDownClass(cls):
        cls.relay.terminate()
        code = cls.relay.wait(timeout=DEADLINE_SECONDS)
        cls.relay.stdout.close()
        cls.receiver.server.shutdown()
        cls.receiver.server.server_close()
        cls.directory.cleanup()
        assert code == 0, f"the relay ended with {code}"

    def publish(self, data):
        event = {"type": "order.created", "source": "/shop", "data": data}
        request = urllib.request.Request(
            self.url + "/v1/events", json.dumps(event).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as answer:
            return json.load(answer)

    def test_every_kind_of_data_verifies(self):
        for data in [{"order": 1}, "äöü ☃ 𝄞", [], None, 1.5e300, {"nested": {"deep": ["\u2028", "\\", '"']}}]:
            with self.subTest(data=data):
                receipt = self.publish(data)
                headers, body = self.receiver.next("/single")
                payload = Webhook(self.single).verify(body, headers)
                self.assertEqual(payload["data"], data)
                self.assertEqual(payload["type"], "order.created")
                self.assertEqual(headers["webhook-id"], receipt["id"])
                self.receiver.next("/rotating")

    def test_both_secrets_of_a_rotation_verify_and_others_do_not(self):
        self.publish({"order": 2})
        headers, body = self.receiver.next("/rotating")
        Webhook(self.old).verify(body, headers)
        Webhook(self.new).verify(body, headers)
        with self.assertRaises(WebhookVerificationError):
            Webhook(self.single).verify(body, headers)
        self.receiver.next("/single")

    def test_what_was_tampered_with_does_not_verify(self):
        self.publish({"order": 3})
        headers, body = self.receiver.next("/single")
        tampered = [
            (headers, body.replace(b"3", b"4")),
            ({**headers, "webhook-id": headers["webhook-id"][:-1] + "x"}, body),
            ({**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}, body),
        ]
        for changed_headers, changed_body in tampered:
            with self.assertRaises(WebhookVerificationError):
                Webhook(self.single).verify(changed_body, changed_headers)
        self.receiver.next("/rotating")

    def test_the_asymmetric_signature_verifies_with_the_public_key_alone(self):
        self.publish({"order": 4})
        headers, body = self.receiver.next("/rotating")
        entries = headers["webhook-signature"].split(" ")
        self.assertEqual(sorted(entry.split(",")[0] for entry in entries), ["v1", "v1", "v1a"])
        signature = base64.b64decode(next(entry for entry in entries if entry.startswith("v1a,"))[4:])
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        public = self.key.public_key()
        public.verify(signature, signed)
        with self.assertRaises(InvalidSignature):
            public.verify(signature, signed + b" ")
        self.assertLess(abs(time.time() - int(headers["webhook-timestamp"])), 300)
        self.receiver.next("/single")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
