//! The gate between a client of the tests' own and a broker that notes what reaches it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::Environment;
use crate::egress::AddressPolicy;
use crate::kafka::wire::ApiKey;

/// An honest answer to a Produce request: one topic, one partition, no error.
const CONFIRMED: &[u8] = b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\0";

fn gate(broker: &str, environment: Environment) -> Gate {
    let dialler = Dialler::new(environment, None, None, "relay".to_owned(), Duration::from_secs(5));
    Gate::open(Arc::new(dialler), &[BrokerAddress::parse(broker).unwrap()]).unwrap()
}

fn loopback() -> Environment {
    Environment { addresses: AddressPolicy::private_allowed(), ..Environment::default() }
}

/// A broker that confirms every request, and gives them on.
async fn broker() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, requests) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_i32().await {
                    let mut request = vec![0; usize::try_from(length).unwrap()];
                    stream.read_exact(&mut request).await.unwrap();
                    let answer = [&request[4..8], CONFIRMED].concat();
                    stream.write_i32(i32::try_from(answer.len()).unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                    sender.send(request).await.unwrap();
                }
                sender.send(Vec::new()).await.unwrap();
            });
        }
    });
    (address, requests)
}

fn request(key: i16, version: i16, client_id: &str, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&i32::try_from(10 + client_id.len() + body.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&7i32.to_be_bytes());
    frame.extend_from_slice(&i16::try_from(client_id.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(client_id.as_bytes());
    frame.extend_from_slice(body);
    frame
}

async fn connect(gate: &Gate) -> TcpStream {
    TcpStream::connect(gate.bootstrap_servers()).await.unwrap()
}

/// Waits until the other side has closed; what it sent before.
async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut read)).await.unwrap();
    read
}

#[tokio::test]
async fn requests_of_any_size_reach_the_broker_whole_under_the_configured_name() {
    let (address, mut requests) = broker().await;
    let gate = gate(&address, loopback());
    let mut client = connect(&gate).await;
    for size in [0, 1, 100, 64 * 1024, 3_000_000] {
        let body: Vec<u8> = (0..251).cycle().take(size).collect();
        client.write_all(&request(0, 8, gate.token(), &body)).await.unwrap();
        let mut answer = vec![0; 8 + CONFIRMED.len()];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[4..8], 7i32.to_be_bytes());
        assert_eq!(&answer[8..], CONFIRMED);
        assert_eq!(requests.recv().await.unwrap(), request(0, 8, "relay", &body)[4..]);
    }
    assert_eq!(gate.trouble(), None);
    gate.close().await;
    assert_eq!(read_to_end(&mut client).await, b"");
    assert_eq!(requests.recv().await.unwrap(), b"", "the broker's connection is closed too");
    assert!(TcpStream::connect(gate.bootstrap_servers()).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_stranger_reaches_no_broker() {
    let (address, mut requests) = broker().await;
    let gate = gate(&address, loopback());
    let token = gate.token().to_owned();
    let almost = format!("{}x", &token[..token.len() - 1]);
    for bytes in [
        request(0, 8, "relay", b""),
        request(0, 8, &almost, b""),
        request(0, 8, &token[1..], b""),
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: 0123456789012345678901234567890123456789\r\n\r\n".to_vec(),
        vec![0xff; 100],
    ] {
        let mut stranger = connect(&gate).await;
        stranger.write_all(&bytes).await.unwrap();
        assert_eq!(read_to_end(&mut stranger).await, b"");
    }
    // Not even one that has shown the token may ask for anything.
    for (key, version) in [(1, 0), (36, 0), (0, 9), (3, 13)] {
        let mut client = connect(&gate).await;
        client.write_all(&request(key, version, &token, b"")).await.unwrap();
        assert_eq!(read_to_end(&mut client).await, b"");
    }
    assert!(requests.try_recv().is_err(), "a request got through");
    gate.close().await;
}

#[tokio::test]
async fn a_broker_that_cannot_be_reached_is_told() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let gate_of = |environment| gate(&address, environment);
    let ask = async |gate: &Gate| {
        let mut client = connect(gate).await;
        client.write_all(&request(0, 8, gate.token(), b"")).await.unwrap();
        assert_eq!(read_to_end(&mut client).await, b"");
        gate.trouble().unwrap()
    };
    let down = gate_of(loopback());
    assert!(ask(&down).await.contains(&format!("{address} cannot be connected to")));
    let forbidden = gate_of(Environment::default());
    assert!(ask(&forbidden).await.contains("which may not be connected to"));
    let other_ports = gate_of(Environment { allowed_ports: vec![1], ..loopback() });
    assert!(ask(&other_ports).await.contains("not among the allowed ones"));
}

#[tokio::test]
async fn brokers_that_an_answer_names_get_listeners_of_their_own() {
    let (address, _requests) = broker().await;
    let gate = gate(&address, loopback());
    let own = BrokerAddress::parse(&address).unwrap();
    let named = [("127.0.0.1", own.port()), ("b.example", 9092), ("b.example", 9093)];
    let ports = gate.shared.doors(&named).unwrap();
    assert_eq!(gate.bootstrap_servers(), format!("127.0.0.1:{}", ports[0]), "the same broker has one");
    assert_eq!(ports, gate.shared.doors(&named).unwrap());
    assert!(ports[1] != ports[2] && ports[1] != 9092);
    assert!(gate.shared.doors(&[("no host", 1)]).is_err());

    let crowd: Vec<String> = (0..=MAX_BROKERS).map(|number| format!("b{number}.example")).collect();
    let crowd: Vec<_> = crowd.iter().map(|host| (host.as_str(), 9092)).collect();
    assert!(matches!(gate.shared.doors(&crowd), Err(GateError::TooManyBrokers)));
    gate.close().await;
}

#[test]
fn only_what_is_needed_has_a_name_here() {
    for (key, api) in
        [(0, ApiKey::Produce), (3, ApiKey::Metadata), (18, ApiKey::ApiVersions), (22, ApiKey::InitProducerId)]
    {
        assert_eq!((ApiKey::of_key(key), api.key()), (Some(api), key));
    }
    assert_eq!(ApiKey::of_key(1), None, "Fetch");
}
