/* A question and its answer on the page, as the answer grows and ends. */

import {follow} from "/page/following.js";
import {show} from "/page/markdown.js";
import {at, copyButton, make} from "/page/making.js";
import {Reading, say} from "/page/speech.js";

const SIGNED = "complete, and signed by the attested key";
const CUT = "complete up to the most that the model may say, and signed by the attested key";
const STOPPED = "stopped: not the whole answer, and not signed";

/* Drawing takes a tenth of the time at most, however long an answer becomes. */
const PAUSES = 9;
const SHORTEST = 30, LONGEST = 1500;  /* milliseconds between drawings */

export class Turn {
  #text = "";
  #thought = "";
  #timer = null;
  #pause = SHORTEST;
  #reading = new Reading();
  #asked;
  #answer = null;

  constructor(question) {
    this.#asked = message("user", "You", () => question);
    this.#asked.querySelector(".text").textContent = question;
    follow(() => at("talk").append(this.#asked));
  }

  /** What the answer says so far. */
  get text() {
    return this.#text;
  }

  /** Take more of the answer. */
  grow(delta) {
    this.#text += delta.content || delta.refusal || "";
    this.#thought += delta.reasoning_content || "";
    if (!this.#text && !this.#thought) return;
    this.#timer ??= setTimeout(() => this.#draw(false), this.#pause);
  }

  /** Show the whole answer, which has been signed. */
  finish(reason) {
    this.#draw(true);
    this.#end("proof", reason === "length" ? CUT : SIGNED);
  }

  /** Show that there is no whole answer; what there is of it does not count. */
  fail(text) {
    if (this.#answer || this.#text) this.#draw(true);
    this.#leave();
    this.#end("failed", text);
  }

  /** Show that the reader did not want more of it. */
  stop() {
    if (this.#answer || this.#text) this.#draw(true);
    this.#leave();
    this.#end("stopped", STOPPED);
  }

  #draw(isWhole) {
    clearTimeout(this.#timer);
    const begun = performance.now();
    follow(() => {
      this.#answer ??= at("talk").appendChild(message("assistant", "Answer", () => this.#text));
      this.#drawThought();
      const lines = show(this.#answer.querySelector(".text"), this.#text);
      if (isWhole) this.#reading.finish(lines);
      else this.#reading.grow(lines);
    });
    this.#timer = null;
    this.#pause = Math.min(LONGEST, Math.max(SHORTEST, PAUSES * (performance.now() - begun)));
  }

  #drawThought() {
    if (!this.#thought) return;
    let fold = this.#answer.querySelector(".thought");
    if (!fold) {
      fold = make("details", "thought");
      fold.append(make("summary", "", "Reasoning"), make("div"));
      this.#answer.querySelector(".text").before(fold);
      say("The model reasons.");
    }
    fold.lastElementChild.textContent = this.#thought;
  }

  #leave() {
    for (const each of [this.#asked, this.#answer]) each?.classList.add("left");
  }

  #end(kind, text) {
    follow(() => at("talk").append(make("p", `end ${kind}`, text)));
    say(text);
  }
}

function message(kind, name, textOf) {
  const article = make("article", kind);
  const body = make("div", "text");
  body.dir = "auto";
  article.append(make("h2", "unseen", name), body, copyButton("Copy", textOf));
  return article;
}
