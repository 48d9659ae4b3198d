// The framing of RFC 9458, Section 4, around the HPKE implementation of `@hpke/*`: no package does it.

import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { Chacha20Poly1305 } from "@hpke/chacha20poly1305";
import { Aes128Gcm, Aes256Gcm, CipherSuite, HkdfSha256 } from "@hpke/core";
import { DhkemX25519HkdfSha256 } from "@hpke/dhkem-x25519";
import { XWing } from "@hpke/hybridkem-x-wing";

const KEMS = {
  0x0020: { name: "X25519-HKDF-SHA256", make: () => new DhkemX25519HkdfSha256(), enc: 32, key: 32 },
  0x647a: { name: "X-Wing", make: () => new XWing(), enc: 1120, key: 1216 },
};
const KDF = 1;
const AEADS = {
  1: { suite: Aes128Gcm, cipher: "aes-128-gcm", keySize: 16 },
  2: { suite: Aes256Gcm, cipher: "aes-256-gcm", keySize: 32 },
  3: { suite: Chacha20Poly1305, cipher: "chacha20-poly1305", keySize: 32 },
};
const NONCE = 12;
const TAG = 16;
const HEADER = 7;

function suiteOf(kem, aead) {
  return new CipherSuite({
    kem: KEMS[kem].make(),
    kdf: new HkdfSha256(),
    aead: new AEADS[aead].suite(),
  });
}

function octets(number) {
  return Buffer.from([number >> 8, number & 0xff]);
}

function infoOf(header) {
  return Buffer.concat([Buffer.from("message/bhttp request\0"), header]);
}

async function answerKeys(context, enc, aead, nonce) {
  const { keySize } = AEADS[aead];
  const secret = await context.export(Buffer.from("message/bhttp response"), Math.max(keySize, NONCE));
  const salt = Buffer.concat([enc, nonce]);
  const derived = (info, size) => Buffer.from(hkdfSync("sha256", new Uint8Array(secret), salt, info, size));
  return [derived("key", keySize), derived("nonce", NONCE)];
}

/** Returns the first key configuration of a list: its identifier, public key and first AEAD. */
export function firstConfig(list) {
  const config = list.subarray(2, 2 + list.readUInt16BE(0));
  const kem = config.readUInt16BE(1);
  if (!(kem in KEMS)) throw new Error("unknown KEM");
  const publicKey = config.subarray(3, 3 + KEMS[kem].key);
  const algorithms = config.subarray(5 + KEMS[kem].key);
  return { keyId: config[0], kem, publicKey, aead: algorithms.readUInt16BE(2) };
}

/** Returns the sealed request and a function that opens its answer. */
export async function sealRequest(config, plain) {
  const suite = suiteOf(config.kem, config.aead);
  const header = Buffer.alloc(HEADER);
  header[0] = config.keyId;
  [config.kem, KDF, config.aead].forEach((id, index) => header.writeUInt16BE(id, 1 + 2 * index));
  const recipientPublicKey = await suite.kem.deserializePublicKey(config.publicKey);
  const sender = await suite.createSenderContext({ recipientPublicKey, info: infoOf(header) });
  const sealed = Buffer.from(await sender.seal(plain));
  const enc = Buffer.from(sender.enc);
  const open = async (data) => {
    const size = Math.max(AEADS[config.aead].keySize, NONCE);
    const [key, nonce] = await answerKeys(sender, enc, config.aead, data.subarray(0, size));
    const cipher = createDecipheriv(AEADS[config.aead].cipher, key, nonce, { authTagLength: TAG });
    cipher.setAuthTag(data.subarray(-TAG));
    return Buffer.concat([cipher.update(data.subarray(size, -TAG)), cipher.final()]);
  };
  return [Buffer.concat([header, enc, sealed]), open];
}

/** A gateway's key pair, derived from 32 octets (RFC 9180, Section 7.1.3), and its configuration. */
export class GatewayKey {
  static async derive(seed, name) {
    const [kem] = Object.entries(KEMS).find(([, each]) => each.name === name);
    const suite = suiteOf(kem, 1);
    const self = new GatewayKey();
    self.kem = Number(kem);
    self.pair = await suite.kem.deriveKeyPair(seed);
    const publicKey = Buffer.from(await suite.kem.serializePublicKey(self.pair.publicKey));
    const config = Buffer.concat([
      Buffer.from([1]), octets(self.kem), publicKey,
      Buffer.from([0, 12, 0, 1, 0, 3, 0, 1, 0, 1, 0, 1, 0, 2]),
    ]);
    self.keys = Buffer.concat([octets(config.length), config]);
    return self;
  }

  /** Returns the request and a function that seals its answer. */
  async openRequest(data) {
    const header = data.subarray(0, HEADER);
    const aead = header.readUInt16BE(5);
    if (header[0] !== 1 || header.readUInt16BE(1) !== this.kem || !(aead in AEADS)) throw new Error("key");
    const end = HEADER + KEMS[this.kem].enc;
    const enc = data.subarray(HEADER, end);
    const recipient = await suiteOf(this.kem, aead).createRecipientContext({
      recipientKey: this.pair, enc, info: infoOf(header),
    });
    const plain = Buffer.from(await recipient.open(data.subarray(end)));
    const seal = async (answer) => {
      const responseNonce = randomBytes(Math.max(AEADS[aead].keySize, NONCE));
      const [key, nonce] = await answerKeys(recipient, enc, aead, responseNonce);
      const cipher = createCipheriv(AEADS[aead].cipher, key, nonce, { authTagLength: TAG });
      return Buffer.concat([responseNonce, cipher.update(answer), cipher.final(), cipher.getAuthTag()]);
    };
    return [plain, seal];
  }
}
