//! Bytes that no door wants, and what each door says to them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::harness::DEADLINE;
use crate::ports::{Port, Ports};

/// One connection of a rude client.
pub(crate) struct Attack {
    what: &'static str,
    port: Port,
    bytes: Vec<u8>,
    /// Whether it says that it has said all.
    ends: bool,
    told: Told,
    /// What counts it.
    pub(crate) metric: &'static str,
}

/// What it is told before it is closed.
enum Told {
    /// These bytes.
    Bytes(&'static [u8]),
    /// Text with this in it.
    Text(&'static str),
    /// That this protocol error ended its connection.
    GoAway,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const TLS_HELLO: &[u8] = &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
const HTTP_REQUEST: &[u8] = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";

const NOT_HTTP2: &str = "eventrelay_grpc_refused_connections_total{reason=\"not_http2\"}";
const FRAME_TOO_LARGE: &str = "eventrelay_tcp_ended_connections_total{reason=\"frame_too_large\"}";
const LINE_TOO_LARGE: &str = "eventrelay_tcp_ended_connections_total{reason=\"line_too_large\"}";
const NO_OBJECT: &str = "eventrelay_tcp_ended_connections_total{reason=\"not_an_object\"}";
const HALF: &str = "eventrelay_tcp_ended_connections_total{reason=\"half_payload\"}";
const HTTP_BODY: &str = "eventrelay_http_problems_total{code=\"body_too_large\"}";
const MALFORMED: &str = "eventrelay_http_problems_total{code=\"malformed_request\"}";
const HTTP2_ERROR: &str = "eventrelay_http_protocol_errors_total";
const GRPC_ERROR: &str = "eventrelay_grpc_protocol_errors_total";

impl Attack {
    /// Sends what it can, and reads to the end.
    pub(crate) fn carry_out(&self, ports: &Ports) {
        let mut stream = TcpStream::connect(ports.of(self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // The server may refuse and close before it has taken everything.
        let _ = stream.write_all(&self.bytes);
        if self.ends {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let mut answer = Vec::new();
        // A reset after the answer takes nothing away from what was read; a time-out means that it was not closed.
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{}: {answer:?}", self.what);
        }
        let text = String::from_utf8_lossy(&answer);
        let told = match self.told {
            Told::Bytes(bytes) => answer == bytes,
            Told::Text(wanted) => text.contains(wanted),
            Told::GoAway => goes_away(&answer),
        };
        assert!(told, "{} at {:?}: {text:?} {answer:?}", self.what, self.port);
    }
}

/// Whether the frames of an HTTP/2 answer end with a GOAWAY that names an error.
fn goes_away(mut answer: &[u8]) -> bool {
    const GOAWAY: u8 = 7;
    while let Some((head, rest)) = answer.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some(payload) = rest.get(..length) else { return false };
        if head[3] == GOAWAY {
            return payload[4..8] != [0; 4];
        }
        answer = &rest[length..];
    }
    false
}

/// Every attack.
pub(crate) fn all() -> Vec<Attack> {
    [at_frames(), at_lines(), at_grpc(), at_http()].into_iter().flatten().collect()
}

fn at_frames() -> Vec<Attack> {
    let attack = |what, bytes: Vec<u8>, metric| Attack {
        what,
        port: Port::Frames,
        bytes,
        ends: true,
        told: Told::Bytes(if metric == HALF { &[] } else { &[0x02] }),
        metric,
    };
    vec![
        attack("a length bomb", vec![0xff; 4], FRAME_TOO_LARGE),
        attack("gRPC", [PREFACE, SETTINGS].concat(), FRAME_TOO_LARGE),
        attack("HTTP", HTTP_REQUEST.to_vec(), FRAME_TOO_LARGE),
        attack("TLS", TLS_HELLO.to_vec(), FRAME_TOO_LARGE),
        attack("noise", noise(4096), FRAME_TOO_LARGE),
        attack("half a length", vec![1, 0], HALF),
        attack("half a frame", [&100_000_u32.to_le_bytes()[..], &[7; 99_999]].concat(), HALF),
    ]
}

fn at_lines() -> Vec<Attack> {
    let attack = |what, bytes: Vec<u8>, told, metric| Attack {
        what,
        port: Port::Lines,
        bytes,
        ends: true,
        told: Told::Text(told),
        metric,
    };
    let endless = [br#"{"type":""#.as_slice(), &vec![b'x'; 3 << 20]].concat();
    vec![
        attack("gRPC", [PREFACE, SETTINGS].concat(), "not_an_object", NO_OBJECT),
        attack("HTTP", HTTP_REQUEST.to_vec(), "not_an_object", NO_OBJECT),
        attack("a frame", [&[9, 0, 0, 0][..], b"{\"n\":1}\n\n"].concat(), "not_an_object", NO_OBJECT),
        attack("noise", [noise(4096), b"\n".to_vec()].concat(), "not_an_object", NO_OBJECT),
        attack("a line without an end", endless, "line_too_large", LINE_TOO_LARGE),
        attack("half a line", br#"{"type":"t","#.to_vec(), "incomplete_line", HALF),
    ]
}

fn at_grpc() -> Vec<Attack> {
    let attack = |what, bytes: Vec<u8>, told, metric| Attack {
        what,
        port: Port::Grpc,
        bytes,
        ends: false,
        told,
        metric,
    };
    let not_http2 = |what, bytes: &[u8]| Attack {
        ends: true,
        ..attack(what, bytes.to_vec(), Told::Text("HTTP/1.1 505 "), NOT_HTTP2)
    };
    let frames = |frames: &[Vec<u8>]| [PREFACE, SETTINGS, &frames.concat()].concat();
    let reset_at_once: Vec<u8> =
        (0..5_000).flat_map(|n| [call(2 * n + 1), reset(2 * n + 1)].concat()).collect();
    // A header block that goes on and on.
    let endless: Vec<Vec<u8>> = std::iter::once(http2_frame(1, 0, 1, &[0x82]))
        .chain((0..2_000).map(|_| http2_frame(9, 0, 1, &literal("x-filler", 60))))
        .collect();
    vec![
        not_http2("HTTP/1", HTTP_REQUEST),
        not_http2("a frame", &[&[9, 0, 0, 0][..], b"{\"n\":1}\n\n"].concat()),
        not_http2("noise", &noise(4096)),
        not_http2("TLS", TLS_HELLO),
        attack("noise behind the preface", [PREFACE, &noise(4096)].concat(), Told::GoAway, GRPC_ERROR),
        attack(
            "a frame of 16 MiB",
            frames(&[vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]]),
            Told::GoAway,
            GRPC_ERROR,
        ),
        attack("data without a call", frames(&[http2_frame(0, 0, 1, b"data")]), Told::GoAway, GRPC_ERROR),
        attack("garbage for headers", frames(&[http2_frame(1, 4, 1, &[0xff; 64])]), Told::GoAway, GRPC_ERROR),
        attack("headers without an end", frames(&endless), Told::GoAway, GRPC_ERROR),
        attack("calls that are reset at once", frames(&[reset_at_once]), Told::GoAway, GRPC_ERROR),
    ]
}

fn at_http() -> Vec<Attack> {
    let attack = |what, bytes: Vec<u8>, told, metric| Attack {
        what,
        port: Port::Http,
        bytes,
        ends: false,
        told: Told::Text(told),
        metric,
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![b' '; 64 << 20]).unwrap();
    let zstd = zstd::encode_all(&vec![b' '; 64 << 20][..], 3).unwrap();
    vec![
        attack("a frame", b"\x05\0\0\0hello\r\n\r\n".to_vec(), "HTTP/1.1 400 ", MALFORMED),
        attack("a length bomb", b"\xff\xff\xff\xff\r\n\r\n".to_vec(), "HTTP/1.1 400 ", MALFORMED),
        attack("TLS", [TLS_HELLO, b"\r\n\r\n"].concat(), "HTTP/1.1 400 ", MALFORMED),
        attack("a bomb of gzip", compressed("gzip", &gzip.finish().unwrap()), "body_too_large", HTTP_BODY),
        attack("a bomb of zstd", compressed("zstd", &zstd), "body_too_large", HTTP_BODY),
        Attack {
            told: Told::GoAway,
            ..attack("noise behind HTTP/2's preface", [PREFACE, &noise(4096)].concat(), "", HTTP2_ERROR)
        },
    ]
}

fn compressed(encoding: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Encoding: {encoding}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn noise(bytes: usize) -> Vec<u8> {
    (1..=bytes as u64 / 8).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect()
}

/// A frame of HTTP/2: 24 bits of length, type, flags, stream.
fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header that is not in HPACK's table.
fn literal(name: &str, value_bytes: u8) -> Vec<u8> {
    let name_bytes = u8::try_from(name.len()).unwrap();
    [&[0, name_bytes], name.as_bytes(), &[value_bytes], &vec![b'y'; value_bytes.into()]].concat()
}

/// The head of a call: POST, http, /.
fn call(stream: u32) -> Vec<u8> {
    let authority = [&[0x41, 9][..], b"localhost"].concat();
    http2_frame(1, 4, stream, &[&[0x83, 0x86, 0x84][..], &authority].concat())
}

fn reset(stream: u32) -> Vec<u8> {
    http2_frame(3, 0, stream, &[0, 0, 0, 8])
}
