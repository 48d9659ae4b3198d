//! One JSON object per line on standard input is a request; one per line on standard output its answer.

use std::{
    io::{BufRead, Write, stdin, stdout},
    panic::AssertUnwindSafe,
};

use bhttp::Message;
use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use hyper::{Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use ohttp::ClientRequest;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    Outcome,
    message::{Form, decode, encode},
    stream::{Outgoing, Shared, collect, pieces, reader, whole},
};

pub async fn run() -> Outcome<()> {
    std::panic::set_hook(Box::new(|_| ())); // told in the answer instead
    for line in stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?)?;
        let answer = match AssertUnwindSafe(ask(&case)).catch_unwind().await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => json!({"error": error.to_string()}),
            Err(panic) => json!({"error": format!("panic: {}", words(&*panic))}),
        };
        writeln!(stdout(), "{answer}")?;
    }
    Ok(())
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    match panic.downcast_ref::<String>() {
        Some(text) => text,
        None => panic.downcast_ref::<&str>().unwrap_or(&"unknown"),
    }
}

fn text<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name].as_str().unwrap_or_default()
}

async fn ask(case: &Value) -> Outcome<Value> {
    let client = ClientRequest::from_encoded_config_list(&hex::decode(text(case, "keys"))?)?;
    let plain = encode(&request(case)?, Form::parse(text(case, "form").as_bytes()))?;
    let opened = match text(case, "delivery") {
        "chunked" => ask_chunked(case, client, &plain).await?,
        _ => ask_whole(case, client, &plain).await?,
    };
    Ok(match opened {
        Ok(data) => told(&decode(&data)?),
        Err(status) => json!({"outer": status}),
    })
}

async fn ask_whole(
    case: &Value,
    client: ClientRequest,
    plain: &[u8],
) -> Outcome<Result<Vec<u8>, u16>> {
    let (sealed, context) = client.encapsulate(plain)?;
    let response = post(text(case, "url"), "message/ohttp-req", whole(sealed)).await?;
    if let Some(status) = refused(&response, "message/ohttp-res") {
        return Ok(Err(status));
    }
    Ok(Ok(
        context.decapsulate(&collect(response.into_body()).await?)?
    ))
}

async fn ask_chunked(
    case: &Value,
    client: ClientRequest,
    plain: &[u8],
) -> Outcome<Result<Vec<u8>, u16>> {
    let sink = Shared::default();
    let mut request = client.encapsulate_stream(sink.clone())?;
    let mut sealed = Vec::new();
    let size = case["chunk"].as_u64().unwrap_or(16384).try_into()?;
    for piece in plain.chunks(size) {
        request.write_all(piece).await?;
        request.flush().await?;
        sealed.push(Bytes::from(sink.take()));
    }
    request.close().await?;
    sealed.push(Bytes::from(sink.take()));
    let response = post(
        text(case, "url"),
        "message/ohttp-chunked-req",
        pieces(sealed),
    )
    .await?;
    if let Some(status) = refused(&response, "message/ohttp-chunked-res") {
        return Ok(Err(status));
    }
    let mut opened = Vec::new();
    let mut answer = request.response(reader(response.into_body()))?;
    answer.read_to_end(&mut opened).await?;
    Ok(Ok(opened))
}

fn request(case: &Value) -> Outcome<Message> {
    let inner = &case["request"];
    let mut message = Message::request(
        text(inner, "method").into(),
        text(inner, "scheme").into(),
        text(inner, "authority").into(),
        text(inner, "path").into(),
    );
    for field in inner["headers"].as_array().into_iter().flatten() {
        message.put_header(
            field[0].as_str().unwrap_or_default(),
            field[1].as_str().unwrap_or_default(),
        );
    }
    message.write_content(hex::decode(text(inner, "content"))?);
    Ok(message)
}

async fn post(url: &str, media_type: &str, body: Outgoing) -> Outcome<Response<Incoming>> {
    let uri: hyper::Uri = url.parse()?;
    let authority = uri.authority().ok_or("no authority in the URL")?;
    let connection = TcpStream::connect(authority.as_str()).await?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(connection)).await?;
    tokio::task::spawn_local(async move {
        let _ = driver.await;
    });
    let mut request = Request::post(uri.path())
        .header("host", authority.as_str())
        .header("content-type", media_type);
    if media_type == "message/ohttp-chunked-req" {
        request = request.header("incremental", "?1");
    }
    Ok(sender.send_request(request.body(body)?).await?)
}

fn refused(response: &Response<Incoming>, media_type: &str) -> Option<u16> {
    let sealed = response
        .headers()
        .get("content-type")
        .is_some_and(|value| value == media_type);
    (!response.status().is_success() || !sealed).then(|| response.status().as_u16())
}

fn told(message: &Message) -> Value {
    let fields: Vec<_> = message
        .header()
        .iter()
        .map(|field| {
            json!([
                String::from_utf8_lossy(field.name()),
                String::from_utf8_lossy(field.value())
            ])
        })
        .collect();
    json!({
        "status": message.control().status().map(|status| status.code()),
        "headers": fields,
        "content": hex::encode(message.content()),
        "informational": message.informational().len(),
    })
}
