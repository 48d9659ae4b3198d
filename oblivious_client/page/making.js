/* Elements, made one by one; text is only ever text. */

export const at = id => document.getElementById(id);

/** Return a new element. */
export function make(tag, kind = "", text = "") {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  if (text) element.textContent = text;
  return element;
}

const AGAIN = 2000;  /* milliseconds after which a button says again what it does */

/** Have a button copy what `textOf` returns, and say whether it did. */
export function copies(button, textOf) {
  const name = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(textOf());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied: the browser forbids it";
    }
    setTimeout(() => { button.textContent = name; }, AGAIN);
  });
}

/** Return a button that copies what `textOf` returns. */
export function copyButton(name, textOf) {
  const button = make("button", "copy", name);
  button.type = "button";
  copies(button, textOf);
  return button;
}
