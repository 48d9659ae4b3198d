/* The end of the page: it is followed only while the reader is there. */

import {at} from "/page/making.js";

const NEAR = 8;  /* pixels from the end that count as there */

let isFollowing = true;
let lastTop = 0;

const page = () => document.scrollingElement;
const isAtEnd = () => page().scrollHeight - page().scrollTop - page().clientHeight <= NEAR;

/** Change the page by `change`, and stay at its end if the reader is there. */
export function follow(change) {
  change();
  if (isFollowing) scrollToEnd();
  look();
}

/** Go to the end, and follow it from there. */
export function toEnd() {
  isFollowing = true;
  scrollToEnd();
  look();
}

function scrollToEnd() {
  page().scrollTop = page().scrollHeight;
}

/* What grows never moves the page up: whoever does that is the reader, or less is left to be shown. */
function look() {
  const top = page().scrollTop;
  if (isAtEnd()) isFollowing = true;
  else if (top < lastTop) isFollowing = false;
  lastTop = top;
  at("to-end").hidden = isFollowing;
}

/** Watch where the reader is. */
export function watchReader() {
  addEventListener("scroll", look, {passive: true});
  addEventListener("resize", () => follow(() => {}), {passive: true});
  at("to-end").addEventListener("click", () => {
    toEnd();
    at("question").focus();
  });
}
