//! A gateway on hyper, on one thread: it echoes the content of a request, or answers at once.

use std::{convert::Infallible, pin::pin};

use bhttp::{Message, StatusCode};
use bytes::Bytes;
use futures::{
    AsyncReadExt, AsyncWriteExt,
    future::{Either, select},
};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    rt::{Read, Write},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use ohttp::{
    KeyConfig, Server, SymmetricSuite,
    hpke::{Aead, Kdf, Kem},
};
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
};

use crate::{
    Outcome,
    message::{Form, decode, encode},
    stream::{Outgoing, Shared, collect, pieces, reader, whole},
};

const KEY_ID: u8 = 1;
const INSTANT_CONTENT: usize = 400; // octets

#[derive(Clone, Copy)]
enum Answer {
    Echo,
    Instant,
}

pub struct Options {
    listen: String,
    key: Vec<u8>,
    kem: Kem,
    answer: Answer,
}

impl Options {
    pub fn parse(arguments: &[String]) -> Option<Self> {
        let mut options = Self {
            listen: String::new(),
            key: Vec::new(),
            kem: Kem::X25519Sha256,
            answer: Answer::Echo,
        };
        for pair in arguments.chunks(2) {
            match (pair[0].as_str(), pair.get(1)?.as_str()) {
                ("--listen", value) => options.listen = value.into(),
                ("--key", value) => options.key = hex::decode(value).ok()?,
                ("--kem", "X25519-HKDF-SHA256") => options.kem = Kem::X25519Sha256,
                ("--kem", "X-Wing") => options.kem = Kem::XWing,
                ("--answer", "echo") => options.answer = Answer::Echo,
                ("--answer", "instant") => options.answer = Answer::Instant,
                _ => return None,
            }
        }
        (!options.listen.is_empty() && options.key.len() == 32).then_some(options)
    }
}

#[derive(Clone)]
struct Gateway {
    server: Server,
    keys: Bytes,
    answer: Answer,
}

impl Gateway {
    fn new(key: &[u8], kem: Kem, answer: Answer) -> Outcome<Self> {
        let suites = [Aead::ChaCha20Poly1305, Aead::Aes128Gcm, Aead::Aes256Gcm]
            .map(|aead| SymmetricSuite::new(Kdf::HkdfSha256, aead));
        let config = KeyConfig::derive(KEY_ID, kem, suites.into(), key)?;
        let server = Server::new(config)?;
        let keys = KeyConfig::encode_list(&[Reference(server.config())])?.into();
        Ok(Self {
            server,
            keys,
            answer,
        })
    }

    async fn serve(&self, request: Request<Incoming>) -> Outcome<Response<Outgoing>> {
        if request.method() == Method::GET {
            let body = whole(self.keys.to_vec());
            return Ok(Response::builder()
                .header("content-type", "application/ohttp-keys")
                .body(body)?);
        }
        match request
            .headers()
            .get("content-type")
            .map(|value| value.as_bytes())
        {
            Some(b"message/ohttp-req") => {
                let sealed = self.whole(&collect(request.into_body()).await?)?;
                Ok(Response::builder()
                    .header("content-type", "message/ohttp-res")
                    .body(whole(sealed))?)
            }
            Some(b"message/ohttp-chunked-req") => Ok(Response::builder()
                .header("content-type", "message/ohttp-chunked-res")
                .header("incremental", "?1")
                .body(pieces(self.chunked(request.into_body()).await?))?),
            _ => Ok(Response::builder().status(415).body(whole(Vec::new()))?),
        }
    }

    fn whole(&self, data: &[u8]) -> Outcome<Vec<u8>> {
        let (plain, context) = self.server.decapsulate(data)?;
        Ok(context.encapsulate(&self.answered(&plain)?)?)
    }

    async fn chunked(&self, body: Incoming) -> Outcome<Vec<Bytes>> {
        let mut opened = self.server.clone().decapsulate_stream(reader(body));
        let mut plain = Vec::new();
        opened.read_to_end(&mut plain).await?;
        let sink = Shared::default();
        let mut sealer = opened.response(sink.clone())?;
        let mut sealed = Vec::new();
        for piece in self.answered(&plain)?.chunks(16384) {
            sealer.write_all(piece).await?;
            sealer.flush().await?;
            sealed.push(Bytes::from(sink.take()));
        }
        sealer.close().await?;
        sealed.push(Bytes::from(sink.take()));
        Ok(sealed)
    }

    fn answered(&self, plain: &[u8]) -> Outcome<Vec<u8>> {
        let request = decode(plain)?;
        let mut response = Message::response(StatusCode::OK);
        match self.answer {
            Answer::Instant => {
                response.put_header("content-type", "application/json");
                response.write_content([b'x'; INSTANT_CONTENT]);
                encode(&response, Form::Known)
            }
            Answer::Echo => {
                response.put_header("content-type", "application/octet-stream");
                response.put_header("inner-path", request.control().path().unwrap_or_default());
                response.write_content(request.content());
                encode(
                    &response,
                    Form::parse(request.header().get(b"answer-form").unwrap_or_default()),
                )
            }
        }
    }
}

struct Reference<'a>(&'a KeyConfig);

impl AsRef<KeyConfig> for Reference<'_> {
    fn as_ref(&self) -> &KeyConfig {
        self.0
    }
}

pub async fn run(options: Options) -> Outcome<()> {
    let gateway = Gateway::new(&options.key, options.kem, options.answer)?;
    let mut end = signal(SignalKind::terminate())?;
    let accepting = pin!(accept(&options.listen, gateway));
    match select(pin!(end.recv()), accepting).await {
        Either::Left(_) => Ok(()),
        Either::Right((failed, _)) => failed,
    }
}

async fn accept(address: &str, gateway: Gateway) -> Outcome<()> {
    if let Some(path) = address.strip_prefix("unix:") {
        let listener = UnixListener::bind(path)?;
        say_ready(address);
        loop {
            connection(gateway.clone(), listener.accept().await?.0);
        }
    }
    let listener = TcpListener::bind(address.strip_prefix("tcp://").unwrap_or(address)).await?;
    say_ready(&format!("tcp://{}", listener.local_addr()?));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        connection(gateway.clone(), stream);
    }
}

fn say_ready(address: &str) {
    eprintln!(
        "{}",
        serde_json::json!({"event": "ready", "listen": address})
    );
}

fn connection<S>(gateway: Gateway, stream: S)
where
    TokioIo<S>: Read + Write + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let gateway = gateway.clone();
        async move {
            Ok::<_, Infallible>(gateway.serve(request).await.unwrap_or_else(|_| {
                let mut refusal = Response::new(whole(Vec::new()));
                *refusal.status_mut() = hyper::StatusCode::BAD_REQUEST;
                refusal
            }))
        }
    });
    tokio::task::spawn_local(async move {
        let _: Result<(), hyper::Error> = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    });
}
