//! A way to the server that can be cut at the worst moment.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What happens to something that a client says.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It reaches the server, which does it; the answer is dropped, and the connection cut.
    LoseAnswer,
    /// It does not reach the server; the connection is cut.
    LoseRequest,
    /// The connection is cut, and it reaches the server later, once it is let go.
    Delay(oneshot::Receiver<()>),
}

/// A proxy to one server.
pub(crate) struct Proxy {
    address: SocketAddr,
    fault: Arc<Mutex<Option<Armed>>>,
    task: JoinHandle<()>,
}

struct Armed {
    /// How much is let through before.
    after: usize,
    fault: Fault,
}

impl Proxy {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fault = Arc::new(Mutex::new(None));
        let faults = Arc::clone(&fault);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((client, _)) = listener.accept().await else { return };
                connections.spawn(carry(client, server, Arc::clone(&faults)));
            }
        });
        Self { address, fault, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Lies in wait for the next thing that a client says.
    pub(crate) fn arm(&self, fault: Fault) {
        self.arm_after(0, fault);
    }

    /// Lets so many through before.
    pub(crate) fn arm_after(&self, after: usize, fault: Fault) {
        *self.fault.lock().unwrap() = Some(Armed { after, fault });
    }

    /// Whether what it lay in wait for has come.
    pub(crate) fn has_struck(&self) -> bool {
        self.fault.lock().unwrap().is_none()
    }
}

fn strike(armed: &Mutex<Option<Armed>>) -> Option<Fault> {
    let mut armed = armed.lock().unwrap();
    match &mut *armed {
        Some(Armed { after: after @ 1.., .. }) => {
            *after -= 1;
            None
        }
        _ => armed.take().map(|armed| armed.fault),
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr, faults: Arc<Mutex<Option<Armed>>>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut said, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut said) => {
                let Ok(count @ 1..) = read else { return };
                match strike(&faults) {
                    None => {
                        if server.write_all(&said[..count]).await.is_err() { return }
                    }
                    Some(Fault::LoseRequest) => return,
                    Some(Fault::LoseAnswer) => {
                        // A request may come in pieces, of which all have to arrive before there is an answer.
                        server.write_all(&said[..count]).await.unwrap();
                        loop {
                            tokio::select! {
                                _ = server.read(&mut answered) => return,
                                read = client.read(&mut said) => {
                                    let Ok(count @ 1..) = read else { return };
                                    server.write_all(&said[..count]).await.unwrap();
                                }
                            }
                        }
                    }
                    Some(Fault::Delay(release)) => {
                        drop(client);
                        let _ = release.await;
                        server.write_all(&said[..count]).await.unwrap();
                        let _ = server.read(&mut answered).await;
                        return;
                    }
                }
            }
            read = server.read(&mut answered) => {
                let Ok(count @ 1..) = read else { return };
                if client.write_all(&answered[..count]).await.is_err() { return }
            }
        }
    }
}
