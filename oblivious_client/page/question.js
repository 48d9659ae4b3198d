/* The field of the question. */

import {at} from "/page/making.js";

const grows = CSS.supports("field-sizing", "content");

/** Empty the field. */
export function clearQuestion() {
  at("question").value = "";
  fit();
}

/** Put a question back that was not answered, unless the reader has begun another. */
export function giveBack(text) {
  if (at("question").value.trim()) return;
  at("question").value = text;
  fit();
}

function fit() {
  if (grows) return;
  const field = at("question");
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

/* A finger's keyboard has no Shift+Enter: there the key begins a line, and the button asks. */
const asksByKey = !matchMedia("(pointer: coarse)").matches;

/** Have Enter ask, and a link write a question. */
export function watchQuestion() {
  const field = at("question");
  at("keys").hidden = !asksByKey;
  field.addEventListener("input", fit);
  field.addEventListener("keydown", event => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || !asksByKey) return;
    event.preventDefault();
    at("ask").requestSubmit();
  });
  /* A link may write a question; only a person may ask it. */
  field.value = new URLSearchParams(location.hash.slice(1)).get("ask") || "";
  fit();
}
