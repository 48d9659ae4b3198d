// A client that reads cases and a gateway that echoes; both are described in tests/interop/README.md.

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { BHttpDecoder, BHttpEncoder } from "bhttp-js";
import { firstConfig, GatewayKey, sealRequest } from "./oblivious.js";

const PADDING = 300; // octets; the package has no call for it
const USAGE = "usage: driver.js client | gateway --listen HOST:PORT --key HEX [--kem X25519-HKDF-SHA256|X-Wing]";

/** Pads a known-length message, or omits the empty sections at its end (RFC 9292, Section 3.8). */
function shaped(data, form, contentSize) {
  const message = Buffer.from(data);
  if (form === "padded") return Buffer.concat([message, Buffer.alloc(PADDING)]);
  if (form === "truncated") return message.subarray(0, contentSize ? -1 : -2);
  return message;
}

async function ask({ url, keys, form, delivery, request }) {
  if (delivery !== "whole" || form === "indeterminate") throw new Error("not offered");
  const content = Buffer.from(request.content, "hex");
  const inner = new Request(`${request.scheme}://${request.authority}${request.path}`, {
    method: request.method, headers: request.headers, body: content.length ? content : undefined,
  });
  const plain = shaped(await new BHttpEncoder().encodeRequest(inner), form, content.length);
  const [body, open] = await sealRequest(firstConfig(Buffer.from(keys, "hex")), plain);
  const answer = await fetch(url, { method: "POST", headers: { "content-type": "message/ohttp-req" }, body });
  const sealed = Buffer.from(await answer.arrayBuffer());
  if (answer.headers.get("content-type") !== "message/ohttp-res") return { outer: answer.status };
  const response = new BHttpDecoder().decodeResponse(new Uint8Array(await open(sealed)));
  return {
    status: response.status,
    headers: [...response.headers],
    content: Buffer.from(await response.arrayBuffer()).toString("hex"),
    informational: 0,
  };
}

async function runClient() {
  for await (const line of createInterface({ input: process.stdin })) {
    const answer = await ask(JSON.parse(line)).catch((error) => ({ error: String(error) }));
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}

async function collect(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function answered(key, data) {
  const [plain, seal] = await key.openRequest(data);
  const request = new BHttpDecoder().decodeRequest(new Uint8Array(plain));
  const content = Buffer.from(await request.arrayBuffer());
  const url = new URL(request.url);
  const response = new Response(content, {
    headers: { "content-type": "application/octet-stream", "inner-path": url.pathname + url.search },
  });
  const form = request.headers.get("answer-form");
  return seal(shaped(await new BHttpEncoder().encodeResponse(response), form, content.length));
}

async function serve(key, request, response) {
  const end = (status, type, body) => response.writeHead(status, { "content-type": type }).end(body);
  if (request.method === "GET") return end(200, "application/ohttp-keys", key.keys);
  const data = await collect(request);
  if (request.headers["content-type"] !== "message/ohttp-req") return end(415, "text/plain", "");
  return answered(key, data).then(
    (sealed) => end(200, "message/ohttp-res", sealed),
    () => end(400, "text/plain", ""),
  );
}

async function runGateway(options) {
  const key = await GatewayKey.derive(Buffer.from(options.key, "hex"), options.kem || "X25519-HKDF-SHA256");
  const [, host, port] = options.listen.match(/^(?:tcp:\/\/)?(.*):(\d+)$/);
  const server = createServer((request, response) => serve(key, request, response));
  server.listen(Number(port), host, () => {
    const listen = `tcp://${host}:${server.address().port}`;
    process.stderr.write(`${JSON.stringify({ event: "ready", listen })}\n`);
  });
  process.on("SIGTERM", () => process.exit(0));
}

const [command, ...rest] = process.argv.slice(2);
const options = {};
for (let index = 0; index + 1 < rest.length; index += 2) options[rest[index].slice(2)] = rest[index + 1];
if (command === "client") await runClient();
else if (command === "gateway" && options.listen && options.key) await runGateway(options);
else {
  process.stderr.write(`${USAGE}\n`);
  process.exitCode = 1;
}
