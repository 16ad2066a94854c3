// The built binary's API under /api/v1, asked by the SDK of Svix from npm: what its JavaScript could read otherwise than Python does.
//
// Run by scripts/test-svix.sh, which gives the binary's path.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";

import { Svix, Webhook } from "svix";

const BINARY = process.env.TEST_BINARY;
const CONFIGURATION = `
[http]
listen = "127.0.0.1:0"
[grpc]
listen = "127.0.0.1:0"
[tcp]
frames_listen = "off"
[compat]
svix_jwt_secret = "a secret that signs tokens"
[egress]
allow_private_addresses = true
`;

const deliveries = [];
let waiting = () => {};
const receiver = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    deliveries.push({ headers: request.headers, body: Buffer.concat(parts).toString() });
    response.end("ok");
    waiting();
});
let directory, relay, svix;

before(async () => {
    receiver.listen(0, "127.0.0.1");
    await once(receiver, "listening");
    directory = mkdtempSync(join(tmpdir(), "eventrelay-svix-"));
    writeFileSync(join(directory, "eventrelay.toml"), CONFIGURATION);
    const isOther = ([name]) => !name.startsWith("EVENTRELAY_");
    const options = { cwd: directory, env: Object.fromEntries(Object.entries(process.env).filter(isOther)) };
    const token = execFileSync(BINARY, ["svix", "token"], options).toString().trim();
    relay = spawn(BINARY, ["serve"], { ...options, stdio: ["ignore", "pipe", "ignore"] });
    for await (const line of createInterface({ input: relay.stdout })) {
        const found = /Listening on (http:\/\/\S+)/.exec(line);
        if (found) {
            svix = new Svix(token, { serverUrl: found[1] });
            return;
        }
    }
    throw new Error("the relay ended");
});

after(async () => {
    receiver.close();
    if (relay) {
        const ended = once(relay, "exit");
        relay.kill("SIGTERM");
        assert.equal((await ended)[0], 0);
    }
    rmSync(directory, { recursive: true });
});

async function delivered() {
    while (deliveries.length === 0) await new Promise((resolve) => (waiting = resolve));
    return deliveries.shift();
}

test("a message arrives signed, and is read back with its attempts", { timeout: 60_000 }, async () => {
    const app = await svix.application.create({ name: "the shop", uid: "shop", metadata: { plan: "free" } });
    const url = `http://127.0.0.1:${receiver.address().port}/hook`;
    const endpoint = await svix.endpoint.create("shop", { url, uid: "main", eventTypes: ["order.paid"], channels: ["a"] });
    assert.deepEqual([endpoint.eventTypes, endpoint.channels, endpoint.disabled], [["order.paid"], ["a"], false]);
    assert.ok(endpoint.createdAt instanceof Date && !Number.isNaN(endpoint.createdAt.getTime()));
    const message = await svix.message.create("shop", {
        eventType: "order.paid", payload: { order: 1 }, channels: ["a", "b"], eventId: "evt_1",
    });
    const { headers, body } = await delivered();
    const { key } = await svix.endpoint.getSecret("shop", "main");
    new Webhook(key).verify(body, headers);
    assert.throws(() => new Webhook(key).verify(body + " ", headers));
    assert.deepEqual([headers["svix-id"], JSON.parse(body)], [message.id, { order: 1 }]);
    let attempts;
    do {
        attempts = await svix.messageAttempt.listByEndpoint("shop", "main", { eventTypes: ["order.paid"], channel: "a" });
    } while (attempts.data.length === 0);
    assert.deepEqual([attempts.data[0].msgId, attempts.data[0].statusText, attempts.done], [message.id, "success", true]);
    const listed = await svix.message.list("shop", { after: new Date(Date.now() - 3_600_000), limit: 1 });
    assert.deepEqual(listed.data, [message]);
    await svix.messageAttempt.resend("shop", "evt_1", "main");
    assert.equal((await delivered()).headers["svix-id"], message.id);
    assert.equal((await svix.endpoint.patch("shop", "main", { disabled: true })).disabled, true);
    await svix.application.delete(app.id);
});

test("refusals are read", { timeout: 60_000 }, async () => {
    await assert.rejects(svix.application.get("nobody"), { code: 404, body: { code: "not_found", detail: "Entity not found" } });
    await assert.rejects(svix.application.create({ name: "" }), { code: 422 });
});
