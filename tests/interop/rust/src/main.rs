//! Oblivious HTTP by the crates `ohttp` and `bhttp`: a client that reads cases, or a gateway.
//!
//! Both are described in tests/interop/README.md.

mod client;
mod gateway;
mod message;
mod stream;

use std::{error::Error, process::ExitCode};

pub type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: interop-driver client
       interop-driver gateway --listen HOST:PORT|unix:PATH --key HEX
                      [--kem X25519-HKDF-SHA256|X-Wing] [--answer echo|instant]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    let outcome = match arguments.first().map(String::as_str) {
        Some("client") => local.block_on(&runtime, client::run()),
        Some("gateway") => match gateway::Options::parse(&arguments[1..]) {
            Some(options) => local.block_on(&runtime, gateway::run(options)),
            None => Err(USAGE.into()),
        },
        _ => Err(USAGE.into()),
    };
    if let Err(error) = outcome {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
