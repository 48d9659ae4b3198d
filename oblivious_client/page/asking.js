/* The local endpoint, as the page asks it. */

export const BROKEN_OFF = "the answer broke off before its end";

/** Return the JSON at a path; throws an error with the endpoint's own sentence. */
export async function load(path) {
  let response;
  try {
    response = await fetch(path);
  } catch {
    throw new Error("the local endpoint does not answer: is `oblivious-client serve` running?");
  }
  const body = await response.json();
  if (!response.ok) throw new Error(body.error.message);
  return body;
}

/** Yield the deltas of an answer as they come; returns why it ended, once its signature has verified. */
export async function* answer(question, signal) {
  const response = await posted(question, signal);
  if (!response.ok) throw new Error((await response.json()).error.message);
  let reason = "stop";
  for await (const event of eventsOf(response)) {
    if (event === "[DONE]") return reason;
    const chunk = JSON.parse(event);
    if (chunk.error) throw new Error(chunk.error.message);
    for (const choice of chunk.choices) {
      reason = choice.finish_reason || reason;
      if (choice.delta) yield choice.delta;
    }
  }
  throw new Error(BROKEN_OFF);
}

async function posted(question, signal) {
  try {
    return await fetch("/v1/chat/completions", {
      method: "POST",
      headers: {"content-type": "application/json"},
      body: JSON.stringify({...question, stream: true}),
      signal,  /* what is not read any more is not generated either */
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Error("the local endpoint does not answer: is `oblivious-client serve` running?");
  }
}

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {value, done} = await reader.read().catch(() => { throw new Error(BROKEN_OFF); });
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts)
      if (part.startsWith("data: ")) yield part.slice("data: ".length);  /* no comment */
  }
}
