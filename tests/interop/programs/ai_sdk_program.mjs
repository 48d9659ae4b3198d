// The AI SDK: asks at the address and for the model that it is given, over three APIs.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;

const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const City = z.object({ city: z.string() });
const weather = tool({
  description: "Tell the weather.",
  inputSchema: City,
  execute: async ({ city }) => `sunny in ${city}`,
});
const able = { tools: { weather }, stopWhen: stepCountIs(3), prompt: "Weather?" };

async function streamed(question) {
  let failure;
  const answer = streamText({ ...question, onError: ({ error }) => (failure = error) });
  let text = "";
  for await (const piece of answer.textStream) text += piece;
  if (failure) throw failure;
  return text;
}

async function said(model, thinking) {
  const shown = [
    { type: "text", text: "What?" },
    { type: "image", image: PNG },
  ];
  const city = await generateText({ model, prompt: "Where?", output: Output.object({ schema: City }) });
  const thought = await generateText({ model, ...able, providerOptions: thinking, maxOutputTokens: 8000 });
  return {
    chat: (await generateText({ model, prompt: "Hello" })).text,
    stream: await streamed({ model, prompt: "Hello" }),
    tools: (await generateText({ model, ...able })).text,
    "streamed tools": await streamed({ model, ...able }),
    structured: JSON.stringify(city.output),
    reasoning: thought.text,
    image: (await generateText({ model, messages: [{ role: "user", content: shown }] })).text,
  };
}

const [address, name] = process.argv.slice(2);
const openai = createOpenAI({ baseURL: `${address}/v1`, apiKey: "none" });
const anthropic = createAnthropic({ baseURL: `${address}/v1`, apiKey: "none" });
const effort = { openai: { reasoningEffort: "high" } };
const budget = { anthropic: { thinking: { type: "enabled", budgetTokens: 2000 } } };
console.log(
  JSON.stringify({
    Responses: await said(openai(name), effort),
    "chat completions": await said(openai.chat(name), effort),
    Messages: await said(anthropic(name), budget),
  }),
);
