/* What was verified of the enclave. */

import {load} from "/page/asking.js";
import {at, make} from "/page/making.js";

const SHOWN = 64;  /* digits of a public key */
const wide = matchMedia("(min-width: 72rem)");  /* where it stands beside the chat; as layout.css has it */

/** Show the evidence; return whether it has verified. */
export async function showEvidence() {
  verdict("", "Verifying the enclave …", "");
  try {
    showReport(await load("/evidence"));
    return true;
  } catch (error) {
    verdict("bad", "Not verified: nothing is sent", error.message);
    return false;
  }
}

/** Keep the fold open where there is room beside the chat, closed where there is none. */
export function foldWithRoom() {
  const fold = () => { at("evidence").open = wide.matches || at("evidence").className === "bad"; };
  wide.addEventListener("change", fold);
  fold();
}

function verdict(kind, text, meaning) {
  at("evidence").className = kind;
  at("verdict").textContent = text;
  at("meaning").textContent = meaning;
  at("again").hidden = kind !== "bad";
  at("facts").replaceChildren();
  if (kind === "bad") at("evidence").open = true;
}

function showReport(report) {
  if (report.is_simulated)
    verdict("warn", "Verified, but SIMULATED", "No hardware vouches for this enclave; for trials only.");
  else
    verdict("good", "Verified", `A ${report.platform} enclave runs ${codeOf(report.release)}.`);
  for (const warning of report.warnings) fact("note", warning.replace(/^warning: /, ""));
  fact("address", report.address);
  if (report.release) showRelease(report.release);
  fact("module", report.module_id);
  fact("made", new Date(report.timestamp * 1000).toLocaleString());
  const root = report.is_simulated ? "throw-away root" : "AWS Nitro Enclaves root";
  fact("chain", `${report.certificates} certificates, ${root}`);
  for (const [name, pcr] of Object.entries(report.pcrs))
    fact(name, `${pcr.value} (${pcr.pinned ? "pinned" : "not pinned"})`);
  const key = report.keys.find(each => each.key_id === report.seal_to);
  const more = key.public_key.length > SHOWN ? "…" : "";
  fact("seals to", `key ${key.key_id}, ${key.kem} ${key.public_key.slice(0, SHOWN)}${more}`);
  for (const [algorithm, id] of Object.entries(report.tee_ids)) fact("signs with", `${algorithm} ${id}`);
}

function codeOf(release) {
  return release ? `release ${release.version}, ${signed(release)}` : "the pinned code";
}

function signed({builders, builders_trusted, builders_needed}) {
  return `signed by ${builders.length} of ${builders_trusted} builders (${builders_needed} needed)`;
}

function showRelease(release) {
  const {list} = release, witnesses = Object.keys(list.witnesses);
  const independent = `${list.independent.length} of them independent of the builders`;
  fact("release", `${release.version} (number ${release.sequence}, kernel ${release.kernel})`);
  fact("builders", `${signed(release)}: ${release.builders.join(", ")}`);
  fact("listed", `${inWords(list.age_seconds)} ago, as of ${new Date(list.as_of * 1000).toLocaleString()}`);
  fact("witnesses", `${witnesses.join(", ")}; ${independent}`);
  fact("commit", release.commit);
}

/** Say how long that is, as the command does. */
function inWords(seconds) {
  const hours = Math.round(seconds / 3600);
  if (hours < 1) return `${Math.round(seconds / 60)} minutes`;
  if (hours < 48) return `${hours} hour${hours === 1 ? "" : "s"}`;
  return `${Math.round(hours / 24)} days`;
}

function fact(name, value) {
  at("facts").append(make("dt", "", name), make("dd", "", value));
}
