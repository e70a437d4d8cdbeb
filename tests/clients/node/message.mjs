// An answer's HTTP message signature, checked by a library that signed none of it: node message.mjs ORIGIN PATH BODY
import { createHash } from "node:crypto";
import { httpbis, createVerifier } from "http-message-signatures";

const [origin, path, body] = process.argv.slice(2);
const pem = await (await fetch(`${origin}/.well-known/darkroom/key.pem`)).text();
const { keys } = await (await fetch(`${origin}/.well-known/darkroom/keys.json`)).json();
const response = await fetch(`${origin}${path}`, { method: "POST", headers: { "content-type": "application/json" }, body });
const bytes = Buffer.from(await response.arrayBuffer());
const headers = Object.fromEntries(response.headers);

async function verified(changed = {}) {
  const message = { status: response.status, headers: { ...headers, ...changed } };
  const config = {
    tolerance: 10,
    requiredFields: ["@status", "content-type", "content-digest", "darkroom-receipt"],
    requiredParams: ["created", "keyid", "alg", "tag"],
    keyLookup: async ({ keyid, alg, tag }) => {
      if (tag !== "darkroom" || keyid !== keys[0].kid) return null;
      return { id: keyid, algs: [alg], verify: createVerifier(pem, "ecdsa-p256-sha256") };
    },
  };
  try {
    return await httpbis.verifyMessage(config, message);
  } catch (error) {
    return false;
  }
}

const digest = `sha-256=:${createHash("sha256").update(bytes).digest("base64")}:`;
console.log(JSON.stringify({
  status: response.status,
  digest: headers["content-digest"] === digest,
  verified: await verified(),
  changed: await Promise.all([
    verified({ "content-type": "text/html" }),
    verified({ "content-digest": digest.replace("=:", "=:A") }),
    verified({ "darkroom-receipt": "rcpt_0" }),
  ]),
}));
