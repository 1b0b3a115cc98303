//! A client that shows everything: one connection, every byte.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// Longer than anything here takes, so that a test which waits for nothing fails and does not hang.
const DEADLINE: Duration = Duration::from_secs(10);

/// With or without TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(super) struct Client {
    stream: BufReader<Box<dyn Stream>>,
    host: SocketAddr,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(host: SocketAddr) -> io::Result<Self> {
        let stream = timeout(DEADLINE, TcpStream::connect(host)).await??;
        Ok(Self::over(stream, host))
    }

    pub(super) fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, host: SocketAddr) -> Self {
        Client { stream: BufReader::new(Box::new(stream)), host }
    }

    pub(super) async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.ask("GET", path, "", "").await
    }

    /// `headers` are whole lines.
    pub(super) async fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> io::Result<Answer> {
        self.send(method, path, headers, body).await?;
        timeout(DEADLINE, self.answer()).await?
    }

    pub(super) async fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) -> io::Result<()> {
        let (host, length) = (self.host, body.len());
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
        self.stream.write_all(request.as_bytes()).await?;
        // TLS keeps what is not flushed.
        self.stream.flush().await
    }

    pub(super) async fn answer(&mut self) -> io::Result<Answer> {
        let head = self.answer_head().await?;
        let status = head[9..12].parse().unwrap();
        let length = head.split("content-length: ").nth(1).map(|rest| rest.lines().next().unwrap().parse().unwrap());
        let body = match length {
            Some(length) => self.bytes(length).await?,
            None => self.chunks().await?,
        };
        Ok(Answer { status, head, body })
    }

    /// The head of an answer without a body.
    pub(super) async fn answer_head(&mut self) -> io::Result<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        head.make_ascii_lowercase();
        Ok(head)
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut size = String::new();
            self.stream.read_line(&mut size).await?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            body.extend(self.bytes(size).await?);
            self.bytes(2).await?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }
}

impl Answer {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The addresses listed, sorted.
    pub(super) fn list(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{self:?}");
        let mut list: Vec<String> = serde_json::from_slice(&self.body).unwrap();
        list.sort();
        list
    }
}
