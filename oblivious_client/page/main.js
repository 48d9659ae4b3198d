/* The chat: what the reader does, and what is asked for it. */

import {answer, load} from "/page/asking.js";
import {foldWithRoom, showEvidence} from "/page/evidence.js";
import {toEnd, watchReader} from "/page/following.js";
import {at, copies, make} from "/page/making.js";
import {clearQuestion, giveBack, watchQuestion} from "/page/question.js";
import {say} from "/page/speech.js";
import {Turn} from "/page/turn.js";

let messages = [];  /* of the turns that were answered whole */
let asking = null;  /* what stops the answer that is awaited */

async function showModels() {
  const {data} = await load("/v1/models");
  at("model").replaceChildren(...data.map(model => make("option", "", model.id)));
}

async function prepare() {
  if (!await showEvidence()) return false;
  try {
    await showModels();
    return true;
  } catch (error) {
    at("talk").append(make("p", "end failed", error.message));
    return false;
  }
}

function questionWith(text) {
  const system = at("system").value.trim();
  const before = system ? [{role: "system", content: system}] : [];
  return {
    model: at("model").value,
    messages: [...before, ...messages, {role: "user", content: text}],
  };
}

async function ask(text) {
  const stopper = asking = new AbortController();
  showAsking();
  const turn = new Turn(text);
  toEnd();
  try {
    if (!at("model").value && !await prepare()) throw new Error("nothing is sent: there is no verified enclave that answers");
    const kept = await read(turn, questionWith(text), stopper.signal);
    messages.push({role: "user", content: text}, kept);
  } catch (error) {
    if (stopper.signal.aborted) turn.stop();
    else turn.fail(error.message);
    giveBack(text);
  }
  asking = null;
  showAsking();
}

async function read(turn, question, signal) {
  const kept = {role: "assistant", content: ""};
  const deltas = answer(question, signal);
  for (;;) {
    const {value, done} = await deltas.next();
    if (done) {
      turn.finish(value);
      return {...kept, content: turn.text};
    }
    turn.grow(value);
    /* What a provider gives for itself goes back with the message. */
    if (value.extra_content) kept.extra_content = value.extra_content;
  }
}

function showAsking() {
  const is = asking !== null;
  if (is) at("hint").hidden = true;
  if (document.activeElement === at(is ? "send" : "stop")) at("question").focus();
  at("send").disabled = at("send").hidden = is;
  at("stop").hidden = !is;
  at("talk").setAttribute("aria-busy", String(is));
  at("new").disabled = is || !at("talk").children.length;
  at("copy-chat").hidden = !messages.length;
}

function chatAsText() {
  return messages.map(({role, content}) => `**${role}**\n\n${content}\n`).join("\n");
}

function beginAnew() {
  const before = {messages, shown: [...at("talk").childNodes]};
  messages = [];
  const back = make("button", "back", "Bring the last chat back");
  back.type = "button";
  back.addEventListener("click", () => {
    messages = [...before.messages, ...messages];
    back.replaceWith(...before.shown);
    showAsking();
    toEnd();
    at("question").focus();
  });
  at("talk").replaceChildren(back);
  showAsking();
  at("new").disabled = true;
  say("New chat.");
  at("question").focus();
}

function showRole() {
  const is = at("role").hidden;
  at("role").hidden = !is;
  at("show-role").setAttribute("aria-expanded", String(is));
  if (is) at("system").focus();
}

at("again").addEventListener("click", prepare);
at("stop").addEventListener("click", () => asking?.abort());
at("new").addEventListener("click", beginAnew);
at("show-role").addEventListener("click", showRole);
at("system").addEventListener("input", () => {
  at("show-role").classList.toggle("set", at("system").value.trim() !== "");
});
copies(at("copy-chat"), chatAsText);

addEventListener("keydown", event => {
  if (event.key === "Escape" && !event.isComposing) asking?.abort();
});

at("ask").addEventListener("submit", event => {
  event.preventDefault();
  const text = at("question").value.trim();
  if (!text || asking) return;
  clearQuestion();
  ask(text);
});

watchReader();
watchQuestion();
foldWithRoom();
prepare();
