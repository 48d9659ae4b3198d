/* Markdown as elements of a page, from what a model wrote, whom nobody trusts.

markdown-it reads the text into tokens. No string of HTML is ever made, so none can be misread: each
token becomes text, or an element of the lists below. HTML in the text is text. No attribute comes
from it but the first number of a list, and on which side a column stands; both are compared, not
copied. A link is its words and its address, to be read and copied: nothing to click, nothing that
a browser would fetch ahead. A picture is its description and its address. */

import markdownit from "/page/vendor/markdown-it.mjs";

import {copyButton, make} from "/page/making.js";

const DEEPEST = 100;  /* of what is within another */
const LONGEST_NAME = 30;  /* of a language */

const reader = markdownit("default", {html: false, linkify: false, breaks: true, maxNesting: DEEPEST});

/* The page and its messages have headings of their own above these. */
const HEADINGS = {h1: "h3", h2: "h4", h3: "h5", h4: "h6", h5: "h6", h6: "h6"};
const WRAPPERS = new Set([
  "p", "blockquote", "ul", "li", "em", "strong", "s", "thead", "tbody", "tr", "th", "td",
]);
const SIDES = {"text-align:center": "center", "text-align:right": "right"};

const written = new WeakMap();  /* the source of each block that is on the page */

/** Show `text` within `place`; blocks whose source is as before stay as they are. Returns its lines, as spoken. */
export function show(place, text) {
  const beyond = {};
  const blocks = [...blocksOf(reader.parse(text, beyond))];
  const lines = text.split("\n");
  const named = JSON.stringify(beyond.references || {});  /* a definition changes blocks above it */
  blocks.forEach((tokens, index) => {
    const [first, behind] = tokens[0].map || [0, lines.length];
    const source = named + lines.slice(first, behind).join("\n");
    const shown = place.children[index];
    if (shown && written.get(shown) === source) return;
    const block = blockFrom(tokens);
    written.set(block, source);
    if (shown) shown.replaceWith(block);
    else place.append(block);
  });
  while (place.children.length > blocks.length) place.lastElementChild.remove();
  return blocks.flatMap(spoken);
}

function* blocksOf(tokens) {
  let block = [];
  for (const token of tokens) {
    block.push(token);
    if (token.level || token.nesting > 0) continue;
    yield block;
    block = [];
  }
}

function blockFrom(tokens) {
  const block = make("div", "block");
  block.dir = "auto";  /* what one block says of directions does not reach the next */
  build(tokens, block);
  return block;
}

function build(tokens, parent) {
  const within = [parent];
  const addresses = [];
  for (const token of tokens) {
    const top = within.at(-1);
    if (token.type === "link_open") addresses.push(token.attrGet("href") || "");
    if (token.nesting > 0) within.push(token.hidden ? top : opened(token, top));
    else if (token.nesting === 0) leaf(token, top);
    else within.pop();
    if (token.type === "link_close") addAddress(top, addresses.pop());
  }
}

function opened(token, parent) {
  const element = wrapper(token);
  if (token.tag === "table") parent.append(scrolling(element));
  else parent.append(element);
  return element;
}

function wrapper(token) {
  if (token.type === "link_open") return make("span", "link");
  if (token.tag === "table") return make("table");
  if (token.tag === "ol") {
    const list = make("ol");
    list.start = Number(token.attrGet("start") ?? 1);
    return list;
  }
  if (Object.hasOwn(HEADINGS, token.tag)) return make(HEADINGS[token.tag]);
  const element = make(WRAPPERS.has(token.tag) ? token.tag : "span");
  const side = token.attrGet("style") || "";
  if (Object.hasOwn(SIDES, side)) element.style.textAlign = SIDES[side];
  return element;
}

function leaf(token, parent) {
  switch (token.type) {
    case "inline": return build(token.children, parent);
    case "fence": return parent.append(code(token.content, token.info));
    case "code_block": return parent.append(code(token.content, ""));
    case "code_inline": return parent.append(make("code", "", token.content));
    case "hr": return parent.append(make("hr"));
    case "hardbreak":
    case "softbreak": return parent.append(make("br"));
    case "image": return picture(token, parent);
    default: return parent.append(token.content);
  }
}

function picture(token, parent) {
  const place = make("span", "link", `picture: ${token.content || "without a description"}`);
  addAddress(place, token.attrGet("src") || "");
  parent.append(place);
}

function addAddress(link, address) {
  if (link.textContent !== address) link.append(" ", make("span", "address", `(${address})`));
}

function code(content, info) {
  const figure = make("figure", "code");
  const head = make("figcaption");
  const name = info.trim().split(/\s/)[0].slice(0, LONGEST_NAME);
  head.append(make("span", "", name || "code"), copyButton("Copy code", () => content));
  const text = make("pre");
  text.append(make("code", "", content));
  text.tabIndex = 0;  /* what is wider than the page is scrolled by keys too */
  figure.append(head, text);
  return figure;
}

function scrolling(table) {
  const place = make("div", "table");
  place.tabIndex = 0;
  place.append(table);
  return place;
}

function spoken(tokens) {
  return tokens.flatMap(token => {
    if (token.type === "inline") return [token.children.map(words).join("")];
    if (token.type !== "fence" && token.type !== "code_block") return [];
    return [`Code, ${token.content.split("\n").length - 1} lines.`];
  });
}

function words(token) {
  if (token.type === "image") return `picture: ${token.content}`;
  return token.type.endsWith("break") ? " " : token.content;
}
