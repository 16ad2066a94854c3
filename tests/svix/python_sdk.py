"""The built binary's API under /api/v1, asked by the SDK of Svix from PyPI.

Run by scripts/test-svix.sh, which gives the binary's path.
"""

import datetime
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
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from svix.api import (
    AppPortalAccessIn,
    ApplicationIn,
    ApplicationListOptions,
    ApplicationPatch,
    ApplicationTokenExpireIn,
    EndpointCreateOptions,
    EndpointHeadersIn,
    EndpointHeadersPatchIn,
    EndpointIn,
    EndpointPatch,
    EndpointSecretRotateIn,
    EventExampleIn,
    EventTypeIn,
    EventTypeListOptions,
    EventTypePatch,
    MessageAttemptListByEndpointOptions,
    MessageAttemptListByMsgOptions,
    MessageCreateOptions,
    MessageGetOptions,
    MessageIn,
    MessageListOptions,
    RecoverIn,
    Svix,
    SvixOptions,
)
from svix.exceptions import HTTPValidationError, HttpError
from svix.webhooks import Webhook, WebhookVerificationError

DEADLINE_SECONDS = 60
BINARY = os.environ["TEST_BINARY"]
SECRET = "a secret that signs tokens"


class Receiver:
    """Takes deliveries, answers each as its path is told to, and hands them over by path."""

    def __init__(self):
        self.deliveries, self.statuses = {}, {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.of(self.path).put((dict(self.headers.items()), body))
                self.send_response(receiver.statuses.get(self.path, 200))
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, path):
        return self.deliveries.setdefault(path, queue.Queue())

    def url(self, path):
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def next(self, path):
        return self.of(path).get(timeout=DEADLINE_SECONDS)


def eventually(look):
    """What is found once it is there."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError("it never came")
        time.sleep(0.05)


class Api(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.receiver = Receiver()
        cls.directory = tempfile.TemporaryDirectory()
        directory = Path(cls.directory.name)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EVENTRELAY_")}
        key = subprocess.run([BINARY, "keys", "generate"], env=environment, stdout=subprocess.PIPE, check=True)
        cls.key = key.stdout.decode().strip()
        Path(directory, "bootstrap.key").write_text(cls.key)
        Path(directory, "jwt").write_text(SECRET)
        Path(directory, "eventrelay.toml").write_text(
            """
            [http]
            listen = "127.0.0.1:0"
            [grpc]
            listen = "127.0.0.1:0"
            [tcp]
            frames_listen = "off"
            [auth]
            required = true
            bootstrap_key_file = "bootstrap.key"
            [compat]
            svix_jwt_secret_file = "jwt"
            svix_retry_schedule_ms = [200]
            [egress]
            allow_private_addresses = true
            """
        )
        token = subprocess.run(
            [BINARY, "svix", "token"], cwd=directory, env=environment, stdout=subprocess.PIPE, check=True
        )
        cls.relay = subprocess.Popen(
            [BINARY, "serve"], cwd=directory, env=environment, stdout=subprocess.PIPE, text=True
        )
        for line in cls.relay.stdout:
            found = re.search(r"Listening on (http://\S+)", line)
            if found:
                cls.url = found.group(1)
                cls.svix = cls.client(token.stdout.decode().strip())
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

    @classmethod
    def client(cls, token):
        return Svix(token, SvixOptions(server_url=cls.url))

    def app(self, **fields):
        return self.svix.application.create(ApplicationIn(name="the shop", **fields))

    def endpoint(self, app, path, **fields):
        return self.svix.endpoint.create(app.id, EndpointIn(url=self.receiver.url(path), **fields))

    def send(self, app, event_type="order.created", payload=None, **fields):
        message = MessageIn(event_type=event_type, payload=payload or {"order": 1}, **fields)
        return self.svix.message.create(app.id, message, MessageCreateOptions(with_content=True))

    def message(self, app, name):
        return self.svix.message.get(app.id, name, MessageGetOptions(with_content=True))

    def refused(self, status, call):
        with self.assertRaises((HttpError, HTTPValidationError)) as caught:
            call()
        self.assertEqual(caught.exception.status_code, status, caught.exception)
        return caught.exception

    def test_applications(self):
        uid = f"shop-{uuid.uuid4()}"
        app = self.app(uid=uid, metadata={"plan": "free"}, throttle_rate=7)
        self.assertRegex(app.id, r"^app_[0-9A-Za-z]{27}$")
        self.assertEqual(self.svix.application.get(uid), app)
        self.assertEqual(self.svix.application.get(app.id).metadata, {"plan": "free"})
        self.refused(409, lambda: self.app(uid=uid))
        self.assertEqual(self.svix.application.get_or_create(ApplicationIn(name="x", uid=uid)).id, app.id)
        patched = self.svix.application.patch(uid, ApplicationPatch(name="new"))
        self.assertEqual((patched.name, patched.uid, patched.throttle_rate), ("new", uid, 7))
        self.assertIsNone(self.svix.application.patch(uid, ApplicationPatch(uid=None)).uid)
        self.refused(404, lambda: self.svix.application.get(uid))
        put = self.svix.application.upsert(app.id, ApplicationIn(name="put", uid=uid))
        self.assertEqual((put.id, put.name, put.metadata, put.throttle_rate), (app.id, "put", {}, None))
        made = self.svix.application.upsert(uid + "-2", ApplicationIn(name="made"))
        self.assertEqual(made.uid, uid + "-2")
        self.svix.application.delete(app.id)
        self.refused(404, lambda: self.svix.application.delete(app.id))

    def test_lists_lead_on_and_back(self):
        made = [self.app().id for _ in range(3)]
        seen, options = [], ApplicationListOptions(limit=2)
        while True:
            page = self.svix.application.list(options)
            self.assertLessEqual(len(page.data), 2)
            seen += [app.id for app in page.data]
            if page.done:
                break
            last = page
            options = ApplicationListOptions(limit=2, iterator=page.iterator)
        self.assertEqual(seen, sorted(seen))
        self.assertEqual([app for app in seen if app in made], sorted(made))
        back = self.svix.application.list(ApplicationListOptions(limit=2, iterator=page.prev_iterator))
        self.assertEqual(back.data, last.data)

    def test_endpoints(self):
        app = self.app()
        endpoint = self.endpoint(
            app, "/crud", uid="main", description="d", event_types=["b.x", "a.y"], channels=["c"], throttle_rate=5
        )
        self.assertRegex(endpoint.id, r"^ep_[0-9A-Za-z]{27}$")
        self.assertEqual((endpoint.event_types, endpoint.channels), (["b.x", "a.y"], ["c"]))
        self.assertEqual(self.svix.endpoint.get(app.id, "main"), endpoint)
        self.refused(409, lambda: self.endpoint(app, "/crud", uid="main"))
        patched = self.svix.endpoint.patch(app.id, "main", EndpointPatch(channels=None, disabled=True))
        self.assertEqual((patched.channels, patched.event_types, patched.disabled), (None, ["b.x", "a.y"], True))
        put = self.svix.endpoint.upsert(app.id, endpoint.id, EndpointIn(url=endpoint.url, metadata={"a": "b"}))
        self.assertEqual((put.uid, put.disabled, put.event_types, put.metadata), (None, False, None, {"a": "b"}))
        second = self.endpoint(app, "/crud")
        self.assertEqual({one.id for one in self.svix.endpoint.list(app.id).data}, {endpoint.id, second.id})
        self.svix.endpoint.delete(app.id, endpoint.id)
        self.refused(404, lambda: self.svix.endpoint.get(app.id, endpoint.id))
        wrong = self.refused(422, lambda: self.svix.endpoint.create(app.id, EndpointIn(url="no url")))
        self.assertEqual(wrong.detail[0].loc, ["body", "url"])
        self.refused(422, lambda: self.endpoint(app, "/crud", event_types=["a*"]))

    def test_headers(self):
        app = self.app()
        endpoint = self.endpoint(app, "/headers")
        headers = {"x-team": "a", "authorization": "Bearer canary"}
        self.svix.endpoint.set_headers(app.id, endpoint.id, EndpointHeadersIn(headers=headers))
        shown = self.svix.endpoint.get_headers(app.id, endpoint.id)
        self.assertEqual((shown.headers, shown.sensitive), ({"x-team": "a"}, ["authorization"]))
        patch = EndpointHeadersPatchIn(headers={"x-more": "b"}, delete_headers=["x-team"])
        self.svix.endpoint.patch_headers(app.id, endpoint.id, patch)
        self.send(app)
        received, _ = self.receiver.next("/headers")
        self.assertEqual((received["x-more"], received["authorization"]), ("b", "Bearer canary"))
        self.assertNotIn("x-team", received)

    def test_a_message_arrives_signed_under_its_id(self):
        app = self.app()
        endpoint = self.endpoint(app, "/signed")
        message = self.send(app, payload={"text": "äöü ☃", "number": 1.5e300}, event_id="evt_1", tags=["t"])
        self.assertRegex(message.id, r"^msg_[0-9A-Za-z]{27}$")
        headers, body = self.receiver.next("/signed")
        self.assertEqual((headers["svix-id"], headers["webhook-id"]), (message.id, message.id))
        secret = self.svix.endpoint.get_secret(app.id, endpoint.id).key
        Webhook(secret).verify(body, headers)
        with self.assertRaises(WebhookVerificationError):
            Webhook(secret).verify(body + b" ", headers)
        self.assertEqual(json.loads(body), {"text": "äöü ☃", "number": 1.5e300})
        self.assertEqual((message.payload, message.event_id, message.tags), (json.loads(body), "evt_1", ["t"]))
        self.assertEqual(self.message(app, message.id), message)
        self.assertEqual(self.message(app, "evt_1"), message)
        self.assertEqual(self.svix.message.get(app.id, message.id).payload, {}, "it was not asked for")

    def test_a_rotated_secret_signs_on_for_its_grace(self):
        app = self.app()
        endpoint = self.endpoint(app, "/rotated")
        old = self.svix.endpoint.get_secret(app.id, endpoint.id).key
        rotation = EndpointSecretRotateIn(grace_period_seconds=3600)
        new = self.svix.endpoint.rotate_secret(app.id, endpoint.id, rotation).key
        self.assertEqual(self.svix.endpoint.get_secret(app.id, endpoint.id).key, new)
        self.send(app)
        headers, body = self.receiver.next("/rotated")
        Webhook(old).verify(body, headers)
        Webhook(new).verify(body, headers)
        self.svix.endpoint.rotate_secret(app.id, endpoint.id, EndpointSecretRotateIn(grace_period_seconds=0))
        self.send(app)
        headers, body = self.receiver.next("/rotated")
        with self.assertRaises(WebhookVerificationError):
            Webhook(new).verify(body, headers)
        Webhook(old).verify(body, headers)  # its own grace goes on

    def test_types_and_channels_choose_endpoints(self):
        app = self.app()
        self.endpoint(app, "/typed", event_types=["order.paid"])
        self.endpoint(app, "/channelled", channels=["a", "b"])
        self.send(app, "order.created", {"n": 1})
        self.send(app, "order.paid", {"n": 2}, channels=["b", "z"])
        self.send(app, "order.paid", {"n": 3}, channels=["ab"])
        self.send(app, "order.paid", {"n": 4}, channels=["a"])
        numbers = lambda path, count: sorted(json.loads(self.receiver.next(path)[1])["n"] for _ in range(count))
        self.assertEqual(numbers("/typed", 3), [2, 3, 4])
        self.assertEqual(numbers("/channelled", 2), [2, 4])

    def test_a_message_is_sent_once(self):
        app = self.app()
        first = self.send(app, event_id="once")
        self.refused(409, lambda: self.send(app, event_id="once"))
        self.refused(409, lambda: self.send(app, event_id="once", payload={"order": 2}))
        options = MessageCreateOptions(idempotency_key=str(uuid.uuid4()))
        again = MessageIn(event_type="order.created", payload={"order": 3})
        ids = {self.svix.message.create(app.id, again, options).id for _ in range(3)}
        self.assertEqual(len(ids), 1)
        self.assertEqual(len(self.svix.message.list(app.id).data), 2)
        self.assertEqual(self.send(self.app(), event_id="once").event_id, "once", "another application's")
        self.assertEqual(self.svix.message.get(app.id, "once").id, first.id)

    def test_messages_are_listed_newest_first(self):
        app = self.app()
        sent = [self.send(app, f"type.{n % 2}", {"n": n}, channels=["c"] if n == 3 else None).id for n in range(5)]
        listed = self.svix.message.list(app.id, MessageListOptions(limit=3))
        self.assertEqual(([one.id for one in listed.data], listed.done), (sent[:1:-1], False))
        rest = self.svix.message.list(app.id, MessageListOptions(limit=3, iterator=listed.iterator))
        self.assertEqual(([one.id for one in rest.data], rest.done), (sent[1::-1], True))
        back = self.svix.message.list(app.id, MessageListOptions(limit=3, iterator=rest.prev_iterator))
        self.assertEqual(back.data, listed.data)
        of_type = self.svix.message.list(app.id, MessageListOptions(event_types=["type.1"], with_content=False))
        self.assertEqual([(one.id, one.payload) for one in of_type.data], [(sent[3], {}), (sent[1], {})])
        of_channel = self.svix.message.list(app.id, MessageListOptions(channel="c"))
        self.assertEqual([one.id for one in of_channel.data], [sent[3]])
        before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
        self.assertEqual(self.svix.message.list(app.id, MessageListOptions(before=before)).data, [])
        self.assertEqual(len(self.svix.message.list(app.id, MessageListOptions(after=before)).data), 5)

    def test_attempts_and_another_try(self):
        app = self.app()
        endpoint = self.endpoint(app, "/attempts")
        message = self.send(app)
        self.receiver.next("/attempts")
        content = MessageAttemptListByMsgOptions(with_content=True)
        attempts = lambda: self.svix.message_attempt.list_by_msg(app.id, message.id, content).data
        (first,) = eventually(attempts)
        self.assertEqual((first.status, first.response_status_code, first.response), (0, 200, "ok"))
        self.assertEqual((first.msg_id, first.endpoint_id, first.trigger_type), (message.id, endpoint.id, 0))
        self.assertEqual(first.url, endpoint.url)
        self.assertEqual(self.svix.message_attempt.get(app.id, message.id, first.id), first)
        destination = lambda: self.svix.message_attempt.list_attempted_destinations(app.id, message.id).data
        eventually(lambda: [one.id for one in destination() if one.status == 0] == [endpoint.id])
        (attempted,) = self.svix.message_attempt.list_attempted_messages(app.id, endpoint.id).data
        self.assertEqual((attempted.id, attempted.status), (message.id, 0))
        self.svix.message_attempt.resend(app.id, message.id, endpoint.id)
        self.assertEqual(self.receiver.next("/attempts")[0]["svix-id"], message.id)
        both = eventually(lambda: len(attempts()) == 2 and attempts())
        self.assertEqual([one.trigger_type for one in both], [1, 0])
        self.assertEqual(self.svix.endpoint.get_stats(app.id, endpoint.id).success, 1)
        other = self.app()
        self.refused(404, lambda: self.svix.message_attempt.get(other.id, message.id, first.id))

    def test_what_has_failed_is_recovered(self):
        app = self.app()
        self.receiver.statuses["/failing"] = 500
        endpoint = self.endpoint(app, "/failing")
        since = datetime.datetime.now(datetime.timezone.utc)
        message = self.send(app)
        failed = lambda: self.svix.message_attempt.list_attempted_destinations(app.id, message.id).data[0].status == 2
        eventually(failed)
        options = MessageAttemptListByEndpointOptions(status=2, with_msg=True)
        attempts = self.svix.message_attempt.list_by_endpoint(app.id, endpoint.id, options).data
        self.assertEqual([one.response_status_code for one in attempts], [500, 500])
        self.assertEqual(attempts[0].msg.id, message.id)
        self.assertEqual(self.svix.endpoint.get_stats(app.id, endpoint.id).fail, 1)
        self.receiver.statuses["/failing"] = 200
        self.receiver.deliveries["/failing"] = queue.Queue()
        task = self.svix.endpoint.recover(app.id, endpoint.id, RecoverIn(since=since))
        self.assertEqual(task.task, "endpoint.recover")
        self.assertEqual(self.receiver.next("/failing")[0]["svix-id"], message.id)
        eventually(lambda: not failed())

    def test_an_example_is_for_one_endpoint(self):
        app = self.app()
        one, other = self.endpoint(app, "/example"), self.endpoint(app, "/other")
        sent = self.svix.endpoint.send_example(app.id, one.id, EventExampleIn(event_type="order.paid"))
        after = self.send(app)
        self.assertEqual(self.receiver.next("/example")[0]["svix-id"], sent.id)
        self.assertEqual(self.receiver.next("/other")[0]["svix-id"], after.id)

    def test_event_types(self):
        name = f"user.{uuid.uuid4()}"
        schemas = {"1": {"type": "object", "examples": [{"user": 1}]}}
        made = self.svix.event_type.create(EventTypeIn(name=name, description="d", schemas=schemas))
        self.assertEqual(self.svix.event_type.get(name), made)
        self.refused(409, lambda: self.svix.event_type.create(EventTypeIn(name=name, description="d")))
        self.assertEqual(self.svix.event_type.patch(name, EventTypePatch(description="new")).schemas, schemas)
        app = self.app()
        endpoint = self.endpoint(app, "/typed-example")
        example = self.svix.endpoint.send_example(app.id, endpoint.id, EventExampleIn(event_type=name))
        self.assertEqual(example.payload, {"user": 1})
        self.svix.event_type.delete(name)
        listed = lambda **options: [one.name for one in self.svix.event_type.list(EventTypeListOptions(**options)).data]
        self.assertNotIn(name, listed())
        self.assertIn(name, listed(include_archived=True))

    def test_a_message_fits_the_schema_of_its_type(self):
        name = f"order.{uuid.uuid4()}"
        lines = {"type": "array", "items": {"required": ["sku"], "properties": {"count": {"type": "integer", "minimum": 1}}}}
        schemas = {"1": True, "2": {"type": "object", "required": ["lines"], "properties": {"lines": lines}}}
        self.svix.event_type.create(EventTypeIn(name=name, description="d", schemas=schemas))
        app = self.app()
        self.send(app, name, {"lines": [{"sku": "a", "count": 1}]})
        wrong = self.refused(422, lambda: self.send(app, name, {"lines": [{"sku": "a", "count": 0}, {}]}))
        self.assertEqual(
            sorted(one.loc for one in wrong.detail),
            [["body", "payload", "lines", "0", "count"], ["body", "payload", "lines", "1"]],
        )
        self.assertEqual({one.type for one in wrong.detail}, {"value_error"})
        self.assertEqual(len(self.svix.message.list(app.id).data), 1)
        self.svix.event_type.patch(name, EventTypePatch(schemas={"3": True}))
        self.send(app, name, {"lines": 7})
        outside = {"1": {"$ref": "https://example.com/schema.json"}}
        self.refused(422, lambda: self.svix.event_type.patch(name, EventTypePatch(schemas=outside)))

    def test_a_repeat_makes_one_endpoint(self):
        app = self.app()
        wanted = EndpointIn(url=self.receiver.url("/repeated"))
        options = EndpointCreateOptions(idempotency_key=f"auto_{uuid.uuid4()}")
        made = self.svix.endpoint.create(app.id, wanted, options)
        self.assertEqual(self.svix.endpoint.create(app.id, wanted, options), made)
        self.assertEqual([one.id for one in self.svix.endpoint.list(app.id).data], [made.id])
        other = EndpointIn(url=self.receiver.url("/other"))
        self.refused(409, lambda: self.svix.endpoint.create(app.id, other, options))

    def test_who_reaches_what(self):
        mine, other = self.app(), self.app()
        self.endpoint(mine, "/mine")
        access = self.svix.authentication.app_portal_access(mine.id, AppPortalAccessIn())
        self.assertTrue(access.url.endswith(access.token))
        portal = self.client(access.token)
        self.assertEqual(len(portal.endpoint.list(mine.id).data), 1)
        portal.endpoint.create(mine.id, EndpointIn(url=self.receiver.url("/mine")))
        self.refused(404, lambda: portal.endpoint.list(other.id))
        self.refused(404, lambda: portal.message.list(other.id))
        self.refused(403, portal.application.list)
        refusal = self.refused(403, lambda: portal.message.create(mine.id, MessageIn(event_type="a", payload={})))
        self.assertEqual(refusal.code, "permission_denied")
        for token in ["", "er_wrong", access.token[:-2], access.token + "x"]:
            self.refused(401, self.client(token or "none").application.list)
        self.svix.authentication.expire_all(mine.id, ApplicationTokenExpireIn())
        self.refused(404, lambda: portal.endpoint.list(mine.id))
        self.assertTrue(self.client(self.key).application.get(mine.id), "an API key is a token too")

    def test_what_is_there_natively_is_there_too(self):
        uid = f"tenant-{uuid.uuid4()}"
        app = self.app(uid=uid)
        self.endpoint(app, "/native")
        key = self.admin("POST", "/v1/keys", {"name": "shop", "scopes": ["publish"], "tenant": uid})["key"]
        event = {"type": "order.created", "source": "/shop", "data": {"order": 7}}
        receipt = self.admin("POST", "/v1/events", event, key)
        headers, body = self.receiver.next("/native")
        self.assertEqual(json.loads(body), {"order": 7})
        self.assertEqual(self.message(app, headers["svix-id"]).payload, {"order": 7})
        self.assertTrue(receipt["id"])

    def admin(self, method, path, body, key=None):
        headers = {"content-type": "application/json", "authorization": f"Bearer {key or self.key}"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers, method=method)
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as answer:
            return json.load(answer)

    def test_wrong_requests_are_refused_as_svix_does(self):
        app = self.app()
        self.refused(404, lambda: self.svix.message.get(app.id, "msg_" + "0" * 27))
        self.refused(404, lambda: self.svix.application.get("nobody"))
        wrong = self.refused(422, lambda: self.send(app, event_type="no type"))
        self.assertEqual((wrong.detail[0].loc, wrong.detail[0].type), (["body", "eventType"], "value_error"))
        later = datetime.datetime.now(datetime.timezone.utc)
        self.refused(422, lambda: self.send(app, deliver_at=later))
        message = self.send(app)
        self.assertEqual(self.refused(400, lambda: self.svix.message.expunge_content(app.id, message.id)).code, "not_supported")
        self.svix.health.get()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
