"""Stands before a Kafka broker that knows neither TLS nor log-ins, and asks for both.

    kafka-tls-login.py LISTEN_PORT BROKER_PORT CERTIFICATE KEY

TLS is OpenSSL's, SCRAM is scramp's. Before the log-in only ApiVersions reaches the broker; afterwards everything does. The users:

    admin  admin             PLAIN
    relay  pencil, ü = 1     PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
"""

import asyncio
import contextlib
import ssl
import struct
import sys

from scramp import ScramException, ScramMechanism

USERS = {"admin": "admin", "relay": "pencil, ü = 1"}
MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

# APIs and errors of the protocol: https://kafka.apache.org/protocol
API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
UNSUPPORTED_SASL_MECHANISM, SASL_AUTHENTICATION_FAILED = 33, 58
# Those that begin with a flexible header, which ends with tagged fields.
FLEXIBLE_AUTHENTICATE = 2


class Refused(Exception):
    pass


class Plain:
    """One message: nothing, the user and the password, with zeros between them."""

    def answer(self, message):
        _, user, password = message.decode().split("\0")
        if USERS.get(user) != password:
            raise Refused("no such user, or another password")
        return b"", True


class Scram:
    def __init__(self, name):
        mechanism = ScramMechanism(name)

        def of_user(user):
            if user not in USERS:
                raise Refused("no such user, or another password")
            return mechanism.make_auth_info(USERS[user], iteration_count=4096)

        self.server = mechanism.make_server(of_user)
        self.answers = [(self.server.set_client_first, self.server.get_server_first, False),
                        (self.server.set_client_final, self.server.get_server_final, True)]

    def answer(self, message):
        take, give, is_last = self.answers.pop(0)
        try:
            take(message.decode())
        except ScramException as error:
            raise Refused("no such user, or another password") from error
        return give().encode(), is_last


async def read_frame(reader):
    (length,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(length)


def write_frame(writer, *parts):
    body = b"".join(parts)
    writer.write(struct.pack(">i", len(body)) + body)


def body_of(frame, is_flexible):
    (length,) = struct.unpack_from(">h", frame, 8)
    return frame[10 + max(length, 0) + (1 if is_flexible else 0):]


def classic(text):
    return struct.pack(">h", len(text.encode())) + text.encode()


def compact(data):
    assert len(data) < 0x3FFF
    size = len(data) + 1
    return (bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])) + data


def read_compact(body):
    size, at = body[0], 1
    if size >= 0x80:
        size, at = size & 0x7F | body[1] << 7, 2
    return body[at:at + size - 1]


def handshake(frame):
    body = body_of(frame, False)
    (length,) = struct.unpack_from(">h", body)
    name = body[2:2 + length].decode()
    error = 0 if name in MECHANISMS else UNSUPPORTED_SASL_MECHANISM
    answer = struct.pack(">hi", error, len(MECHANISMS)) + b"".join(map(classic, MECHANISMS))
    return answer, None if error else Plain() if name == "PLAIN" else Scram(name)


def authenticate(frame, version, mechanism):
    """The answer, and whether that was the last message."""
    flexible = version >= FLEXIBLE_AUTHENTICATE
    body = body_of(frame, flexible)
    message = read_compact(body) if flexible else body[4:]
    error, why, token, is_last = 0, "", b"", False
    try:
        token, is_last = mechanism.answer(message)
    except Refused as refused:
        error, why = SASL_AUTHENTICATION_FAILED, str(refused)
    lifetime = struct.pack(">q", 0) if version >= 1 else b""
    if flexible:
        answer = b"\0" + struct.pack(">h", error) + compact(why.encode()) + compact(token) + lifetime + b"\0"
    else:
        answer = struct.pack(">h", error) + classic(why) + struct.pack(">i", len(token)) + token + lifetime
    return answer, is_last, error


async def log_in(reader, writer, broker_reader, broker_writer):
    mechanism = None
    while True:
        frame = await read_frame(reader)
        key, version = struct.unpack_from(">hh", frame)
        correlation, is_last, error = frame[4:8], False, 0
        if key == API_VERSIONS:
            write_frame(broker_writer, frame)
            write_frame(writer, await read_frame(broker_reader))
        elif key == SASL_HANDSHAKE:
            answer, mechanism = handshake(frame)
            write_frame(writer, correlation, answer)
        elif key == SASL_AUTHENTICATE and mechanism:
            answer, is_last, error = authenticate(frame, version, mechanism)
            write_frame(writer, correlation, answer)
        else:
            raise Refused(f"API {key} before the log-in")
        await writer.drain()
        if error:
            raise Refused("a wrong log-in")
        if is_last:
            return


async def pipe(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def serve(reader, writer, broker_port):
    broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", broker_port)
    with contextlib.suppress(Refused, OSError, asyncio.IncompleteReadError):
        await log_in(reader, writer, broker_reader, broker_writer)
        ways = [asyncio.create_task(pipe(reader, broker_writer)), asyncio.create_task(pipe(broker_reader, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
    for end in (writer, broker_writer):
        end.close()


async def main(listen_port, broker_port, certificate, key):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    on_connection = lambda reader, writer: serve(reader, writer, broker_port)
    server = await asyncio.start_server(on_connection, "127.0.0.1", listen_port, ssl=context)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
