//! A node for tests: one port that does what it is told, good or bad.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// What a node does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// Writes these bytes, and waits for the next request.
    Reply(Vec<u8>),
    /// Reads the request and closes the connection.
    Close,
    /// Resets the connection without reading.
    Reset,
    /// Reads, and does nothing more.
    Hang,
}

impl Manner {
    /// An HTTP reply of this status.
    pub(crate) fn status(status: u16) -> Self {
        Manner::Reply(format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nhi").into_bytes())
    }
}

/// A listening port; refuses connections once dropped.
pub(crate) struct TestNode {
    pub(crate) address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl TestNode {
    pub(crate) async fn start(address: IpAddr, port: u16, manner: Manner) -> io::Result<Self> {
        let listener = TcpListener::bind((address, port)).await?;
        let address = listener.local_addr()?;
        let manner = Arc::new(Mutex::new(manner));
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let serving = (manner.clone(), connections.clone(), requests.clone());
        let task = tokio::spawn(async move {
            let (manner, connections, requests) = serving;
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Relaxed);
                serving.spawn(serve(stream, manner.clone(), requests.clone()));
                while serving.try_join_next().is_some() {}
            }
        });
        Ok(TestNode { address, manner, connections, requests, task })
    }

    pub(crate) fn set(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Relaxed)
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, manner: Arc<Mutex<Manner>>, requests: Arc<AtomicUsize>) {
    if matches!(*manner.lock().unwrap(), Manner::Reset) {
        let _ = stream.set_zero_linger();
        return;
    }
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => request.push(byte),
                Err(_) => return,
            }
        }
        requests.fetch_add(1, Relaxed);
        let manner = manner.lock().unwrap().clone();
        match manner {
            Manner::Reply(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Manner::Close | Manner::Reset => return,
            Manner::Hang => std::future::pending().await,
        }
    }
}
