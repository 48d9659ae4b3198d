/* The answer for screen readers: sentence by sentence, each once, when it is whole. */

import {at, make} from "/page/making.js";

const KEPT = 40;  /* sentences that stay; a reader has long said those before */

const segmenter = window.Intl && Intl.Segmenter && new Intl.Segmenter(undefined, {granularity: "sentence"});

/** Say one thing. */
export function say(text) {
  const region = at("speech");
  region.append(make("p", "", text));
  while (region.children.length > KEPT) region.firstElementChild.remove();
}

/** Says an answer that is still growing. */
export class Reading {
  #said = 0;

  /** Say what is whole of these lines: all sentences that stand before another. */
  grow(lines) {
    this.#sayUntil(lines, 1);
  }

  /** Say what is left. */
  finish(lines) {
    this.#sayUntil(lines, 0);
  }

  #sayUntil(lines, left) {
    const sentences = lines.flatMap(sentencesOf);
    const whole = sentences.length - left;
    if (whole <= this.#said) return;
    say(sentences.slice(this.#said, whole).join(" "));
    this.#said = whole;
  }
}

function sentencesOf(line) {
  const parts = segmenter ? [...segmenter.segment(line)].map(each => each.segment) : [line];
  return parts.map(each => each.trim()).filter(Boolean);
}
