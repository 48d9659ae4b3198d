//! Privacy Pass by the crate `privacypass`: issues, asks, finalizes and verifies what each line asks for.
//!
//! Described in tests/interop/README.md. Its Cargo.lock began as that of the crate: with the newest
//! release of `rsa` the crate does not compile.

use std::{
    error::Error,
    io::{BufRead, Write},
    process::ExitCode,
};

use blind_rsa_signatures::{
    Deterministic, KeyPair, PSS, PublicKey, SecretKey, Sha384, reexports::rand::rng,
};
use http::HeaderValue;
use p384::NistP384;
use privacypass::{
    Deserialize, Serialize,
    auth::{
        authenticate::{
            TokenChallenge, build_www_authenticate_header, parse_www_authenticate_header,
        },
        authorize::{build_authorization_header, parse_authorization_header},
    },
    generic_tokens::{
        GenericBatchTokenRequest, GenericBatchTokenResponse, GenericTokenResponse,
        server::Server as GenericServer,
    },
    public_tokens::{
        PublicToken, TokenRequest, TokenResponse, TokenState, public_key_to_truncated_token_key_id,
        server::{IssuerKeyStore, IssuerServer, OriginKeyStore, OriginServer},
    },
    test_utils::{
        nonce_store::MemoryNonceStore,
        private_memory_store::MemoryKeyStoreVoprf,
        public_memory_store::{IssuerMemoryKeyStore, OriginMemoryKeyStore},
    },
};
use serde_json::{Value, json};
use voprf::Ristretto255;

type Outcome<T> = Result<T, Box<dyn Error>>;
type IssuerPublicKey = PublicKey<Sha384, PSS, Deterministic>;

/// What is remembered between lines: requests in their order, and tokens that were verified.
#[derive(Default)]
struct Driver {
    pending: Vec<TokenState>,
    spent: MemoryNonceStore,
}

fn text<'a>(asked: &'a Value, name: &str) -> Outcome<&'a str> {
    asked[name].as_str().ok_or_else(|| format!("no {name}").into())
}

fn octets(asked: &Value, name: &str) -> Outcome<Vec<u8>> {
    Ok(hex::decode(text(asked, name)?)?)
}

/// Reads all of what is given: the crate's readers leave what is behind.
fn whole<T: Deserialize>(given: &[u8]) -> Outcome<T> {
    let mut rest = given;
    let read = T::tls_deserialize(&mut rest)?;
    if !rest.is_empty() {
        return Err("more behind it".into());
    }
    Ok(read)
}

fn public_key(asked: &Value) -> Outcome<IssuerPublicKey> {
    Ok(PublicKey::from_spki(&octets(asked, "token_key")?)?)
}

async fn issuing(asked: &Value) -> Outcome<IssuerMemoryKeyStore> {
    let pk = public_key(asked)?;
    let sk = SecretKey::from_der(&octets(asked, "private_key")?)?;
    let store = IssuerMemoryKeyStore::default();
    let number = public_key_to_truncated_token_key_id(&pk)?;
    store.insert(number, KeyPair { pk, sk }).await;
    Ok(store)
}

async fn issue(asked: &Value) -> Outcome<Value> {
    let request: TokenRequest = whole(&octets(asked, "request")?)?;
    let store = issuing(asked).await?;
    let response = IssuerServer::new().issue_token_response(&store, request).await?;
    Ok(json!({"octets": hex::encode(response.tls_serialize_detached()?)}))
}

async fn issue_batch(asked: &Value) -> Outcome<Value> {
    let request: GenericBatchTokenRequest = whole(&octets(asked, "request")?)?;
    let store = issuing(asked).await?;
    let response = GenericServer::new()
        .issue_token_responses(
            &MemoryKeyStoreVoprf::<NistP384>::default(),
            &MemoryKeyStoreVoprf::<Ristretto255>::default(),
            &store,
            request,
        )
        .await?;
    Ok(json!({"octets": hex::encode(response.tls_serialize_detached()?)}))
}

impl Driver {
    fn make_requests(&mut self, asked: &Value, count: usize) -> Outcome<Vec<TokenRequest>> {
        let challenge: TokenChallenge = whole(&octets(asked, "challenge")?)?;
        self.pending.clear();
        let mut requests = Vec::new();
        for _ in 0..count {
            let (request, state) = TokenRequest::new(&mut rng(), public_key(asked)?, &challenge)?;
            requests.push(request);
            self.pending.push(state);
        }
        Ok(requests)
    }

    fn request(&mut self, asked: &Value) -> Outcome<Value> {
        let made = self.make_requests(asked, 1)?;
        Ok(json!({"octets": hex::encode(made[0].tls_serialize_detached()?)}))
    }

    fn request_batch(&mut self, asked: &Value) -> Outcome<Value> {
        let count = asked["count"].as_u64().ok_or("no count")?;
        let token_requests = self.make_requests(asked, usize::try_from(count)?)?;
        let batch = GenericBatchTokenRequest {
            token_requests: token_requests.into_iter().map(Into::into).collect(),
        };
        Ok(json!({"octets": hex::encode(batch.tls_serialize_detached()?)}))
    }

    fn finalize(&self, asked: &Value) -> Outcome<Value> {
        let response: TokenResponse = whole(&octets(asked, "response")?)?;
        self.finished(vec![Some(response)])
    }

    fn finalize_batch(&self, asked: &Value) -> Outcome<Value> {
        let batch: GenericBatchTokenResponse = whole(&octets(asked, "response")?)?;
        let mut responses = Vec::new();
        for each in batch.token_responses {
            responses.push(match each.token_response {
                None => None,
                Some(GenericTokenResponse::Public(response)) => Some(*response),
                Some(_) => return Err("another type".into()),
            });
        }
        self.finished(responses)
    }

    /// Gives the fields that redeem the tokens; null where none was issued.
    fn finished(&self, responses: Vec<Option<TokenResponse>>) -> Outcome<Value> {
        if responses.len() != self.pending.len() {
            return Err("not as many as were asked for".into());
        }
        let mut fields = Vec::new();
        for (response, state) in responses.into_iter().zip(&self.pending) {
            fields.push(match response {
                None => Value::Null,
                Some(response) => {
                    let (_, field) = build_authorization_header(&response.issue_token(state)?)?;
                    json!(field.to_str()?)
                }
            });
        }
        Ok(json!({"fields": fields}))
    }

    async fn verify(&self, asked: &Value) -> Outcome<Value> {
        let field = HeaderValue::from_str(text(asked, "field")?)?;
        let token: PublicToken = parse_authorization_header(&field)?;
        let digest = hex::encode(token.challenge_digest());
        let key = public_key(asked)?;
        let store = OriginMemoryKeyStore::default();
        store.insert(public_key_to_truncated_token_key_id(&key)?, key).await;
        OriginServer::new().redeem_token(&store, &self.spent, token).await?;
        Ok(json!({"octets": digest}))
    }

    async fn answer(&mut self, asked: &Value) -> Outcome<Value> {
        match text(asked, "do")? {
            "issue" => issue(asked).await,
            "issue-batch" => issue_batch(asked).await,
            "request" => self.request(asked),
            "request-batch" => self.request_batch(asked),
            "finalize" => self.finalize(asked),
            "finalize-batch" => self.finalize_batch(asked),
            "verify" => self.verify(asked).await,
            "challenges" => challenges(asked),
            "write-challenge" => write_challenge(asked),
            other => Err(format!("{other}: nothing of that name").into()),
        }
    }
}

fn challenges(asked: &Value) -> Outcome<Value> {
    let mut found = Vec::new();
    for each in parse_www_authenticate_header(&HeaderValue::from_str(text(asked, "field")?)?)? {
        found.push(json!({
            "challenge": hex::encode(each.token_challenge().serialize()?),
            "token_key": hex::encode(each.token_key()),
            "max_age": each.max_age(),
        }));
    }
    Ok(json!({"challenges": found}))
}

fn write_challenge(asked: &Value) -> Outcome<Value> {
    let challenge: TokenChallenge = whole(&octets(asked, "challenge")?)?;
    let age = asked["max_age"].as_u64().map(u32::try_from).transpose()?;
    let (_, field) = build_www_authenticate_header(&challenge, &octets(asked, "token_key")?, age)?;
    Ok(json!({"field": field.to_str()?}))
}

fn main() -> ExitCode {
    if std::env::args().skip(1).collect::<Vec<_>>() != ["client"] {
        eprintln!("usage: tokens-driver client");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut driver = Driver::default();
    for line in std::io::stdin().lock().lines() {
        let answered = line.map_err(Into::into).and_then(|line| {
            let asked: Value = serde_json::from_str(&line)?;
            runtime.block_on(driver.answer(&asked))
        });
        let answer = answered.unwrap_or_else(|error| json!({"error": error.to_string()}));
        if writeln!(std::io::stdout(), "{answer}").is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
