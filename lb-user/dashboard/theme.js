// Light or dark: as the system has it, unless the reader says otherwise.

import { byId, setText } from "./dom.js";

const KEY = "fulcrum-theme";
const ORDER = ["auto", "light", "dark"];

/** Puts the reader's choice in force; `changed()` is called whenever the colours are other ones. */
export function theme(changed) {
  const button = byId("theme");
  let chosen = ORDER.includes(localStorage.getItem(KEY)) ? localStorage.getItem(KEY) : "auto";
  const show = () => {
    document.documentElement.dataset.theme = chosen;
    setText(button, `Theme: ${chosen}`);
  };
  button.addEventListener("click", () => {
    chosen = ORDER[(ORDER.indexOf(chosen) + 1) % ORDER.length];
    localStorage.setItem(KEY, chosen);
    show();
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  show();
}
