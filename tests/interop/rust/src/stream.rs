//! What stands between the crate's chunk streams and HTTP bodies.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{AsyncRead, AsyncWrite, Stream, StreamExt, TryStreamExt, stream};
use http_body_util::{BodyDataStream, BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};

pub type Outgoing = UnsyncBoxBody<Bytes, io::Error>;

/// A buffer that a chunk stream writes into while others look at what it holds.
#[derive(Clone, Default)]
pub struct Shared(Rc<RefCell<Vec<u8>>>);

impl Shared {
    pub fn take(&self) -> Vec<u8> {
        self.0.take()
    }
}

impl AsyncWrite for Shared {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

pub fn whole(data: Vec<u8>) -> Outgoing {
    http_body_util::Full::new(Bytes::from(data))
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body of unknown length, for which hyper uses the chunked transfer coding.
pub fn pieces(pieces: Vec<Bytes>) -> Outgoing {
    StreamBody::new(stream::iter(pieces).map(|piece| Ok(Frame::data(piece)))).boxed_unsync()
}

pub fn reader(body: Incoming) -> impl AsyncRead + Unpin {
    let data: Pin<Box<dyn Stream<Item = io::Result<Bytes>>>> =
        Box::pin(BodyDataStream::new(body).map_err(io::Error::other));
    data.into_async_read()
}

pub async fn collect(body: Incoming) -> Result<Bytes, hyper::Error> {
    Ok(body.collect().await?.to_bytes())
}
