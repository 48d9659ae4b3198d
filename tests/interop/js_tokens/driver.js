// Privacy Pass by privacypass-ts: issues, asks, finalizes and verifies what each line asks for.
//
// Described in tests/interop/README.md.
import { createInterface } from "node:readline";
import { webcrypto } from "node:crypto";
import {
  AuthorizationHeader,
  MediaType,
  TokenChallenge,
  WWWAuthenticateHeader,
  genericBatched,
  publicVerif,
  sendTokenRequest,
} from "@cloudflare/privacypass-ts";

const { BLIND_RSA, BlindRSAMode, Client, Issuer, Origin, TokenRequest, TokenResponse } = publicVerif;

// The library tells of refused members on standard output, where answers go.
console.log = console.error;

const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (octets) => Buffer.from(octets).toString("hex");

// The clients of the requests that were made last, in their order.
let pending = [];

async function importKeys(asked) {
  const { subtle } = webcrypto;
  const spki = publicVerif.convertRSASSAPSSToEnc(bytes(asked.token_key));
  const publicKey = await subtle.importKey("spki", spki, BLIND_RSA.rsaParams, true, ["verify"]);
  if (!asked.private_key) return { publicKey };
  const pkcs8 = bytes(asked.private_key);
  const privateKey = await subtle.importKey("pkcs8", pkcs8, BLIND_RSA.rsaParams, true, ["sign"]);
  return { publicKey, issuer: new Issuer(BlindRSAMode.PSS, "issuer.example", privateKey, publicKey) };
}

async function issue(asked) {
  const { issuer } = await importKeys(asked);
  const request = TokenRequest.deserialize(BLIND_RSA, bytes(asked.request));
  return { octets: hex((await issuer.issue(request)).serialize()) };
}

async function issueBatch(asked) {
  const { issuer } = await importKeys(asked);
  const requests = genericBatched.BatchedTokenRequest.deserialize(bytes(asked.request));
  const responses = await new genericBatched.Issuer(issuer).issue(requests);
  return { octets: hex(responses.serialize()) };
}

async function makeRequests(asked) {
  const challenge = TokenChallenge.deserialize(bytes(asked.challenge));
  const requests = [];
  pending = [];
  for (let number = 0; number < asked.count; number += 1) {
    const client = new Client(BlindRSAMode.PSS);
    requests.push(await client.createTokenRequest(challenge, bytes(asked.token_key)));
    pending.push(client);
  }
  return requests;
}

async function request(asked) {
  const [made] = await makeRequests({ ...asked, count: 1 });
  return { octets: hex(made.serialize()) };
}

async function requestBatch(asked) {
  const requests = (await makeRequests(asked)).map((each) => new genericBatched.TokenRequest(each));
  return { octets: hex(new genericBatched.BatchedTokenRequest(requests).serialize()) };
}

async function finalize(asked) {
  return finished([TokenResponse.deserialize(bytes(asked.response))]);
}

async function finalizeBatch(asked) {
  const batch = genericBatched.GenericBatchTokenResponse.deserialize(bytes(asked.response));
  return finished([...batch].map((each) => each.tokenResponse));
}

// Gives the fields that redeem the tokens; null where none was issued.
async function finished(responses) {
  const fields = [];
  for (const [number, response] of responses.entries()) {
    const token = response && (await pending[number].finalize(response));
    fields.push(token && new AuthorizationHeader(token).toString());
  }
  return { fields };
}

// Buys at an issuer over HTTP with what its directory says: one token, or a batch of several.
async function buy(asked) {
  const path = "/.well-known/private-token-issuer-directory";
  const directory = await (await fetch(new URL(path, asked.url))).json();
  const listed = directory["token-keys"].find((each) => each["token-type"] === BLIND_RSA.value);
  const token_key = hex(Buffer.from(listed["token-key"], "base64url"));
  const uri = new URL(directory["issuer-request-uri"], asked.url);
  const authorization = `Bearer ${asked.secret}`;
  if (asked.count === 1) {
    const [made] = await makeRequests({ ...asked, token_key });
    const response = await sendTokenRequest(made.serialize(), uri, new Headers({ authorization }));
    return { token_key, ...(await finalize({ response: hex(response) })) };
  }
  const made = await requestBatch({ ...asked, token_key });
  const headers = { authorization, "content-type": MediaType.GENERIC_BATCHED_TOKEN_REQUEST };
  const answer = await fetch(uri, { method: "POST", headers, body: bytes(made.octets) });
  if (answer.status !== 200) throw new Error(`the issuer answers ${answer.status}`);
  const response = hex(new Uint8Array(await answer.arrayBuffer()));
  return { token_key, ...(await finalizeBatch({ response })) };
}

async function verify(asked) {
  const { publicKey } = await importKeys(asked);
  const [{ token }] = AuthorizationHeader.parse(BLIND_RSA, asked.field);
  if (!(await new Origin(BlindRSAMode.PSS).verify(token, publicKey))) throw new Error("not valid");
  return { octets: hex(token.authInput.challengeDigest) };
}

async function challenges(asked) {
  const found = WWWAuthenticateHeader.parse(asked.field);
  return {
    challenges: found.map((each) => ({
      challenge: hex(each.challenge.serialize()),
      token_key: hex(each.tokenKey),
      max_age: each.maxAge,
    })),
  };
}

async function writeChallenge(asked) {
  const challenge = TokenChallenge.deserialize(bytes(asked.challenge));
  const header = new WWWAuthenticateHeader(challenge, bytes(asked.token_key), asked.max_age);
  return { field: header.toString(asked.quoted) };
}

const DO = {
  buy,
  issue,
  "issue-batch": issueBatch,
  request,
  "request-batch": requestBatch,
  finalize,
  "finalize-batch": finalizeBatch,
  verify,
  challenges,
  "write-challenge": writeChallenge,
};

if (process.argv[2] !== "client") {
  console.error("usage: driver.js client");
  process.exit(1);
}
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  let answer;
  try {
    answer = await DO[asked.do](asked);
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
