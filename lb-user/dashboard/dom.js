// Making and changing elements. Text goes in as text, never as markup.

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** An element with attributes (`class`, `data-…`; listeners as `onclick`) and children: elements and texts. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else setAttribute(element, name, value);
  }
  element.append(...children);
  return element;
}

/** Shows a text, and touches the page only when it is another one than before. */
export function setText(element, text) {
  if (element.shownText === text) return;
  element.shownText = text;
  element.textContent = text;
}

/** As `setText`, of an attribute; null and false take it away. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else {
    const text = value === true ? "" : String(value);
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

/** Shows a text where there is one, and hides the element where there is none. */
export function setOptional(element, text) {
  setText(element, text ?? "");
  element.hidden = !text;
}

/**
 * Children of `parent` by key: one for each of `items`, in their order. What is there already is kept and updated, so
 * that focus and selection stay. `make(item)` answers with an object that has `element` and `update(item)`.
 */
export class Keyed {
  constructor(parent, make) {
    this.parent = parent;
    this.make = make;
    this.views = new Map();
  }

  show(items, key) {
    // Those that go first, so that the others stand in their places and need not be moved, which would take their focus.
    const kept = new Set(items.map(key));
    for (const [name, view] of this.views) {
      if (kept.has(name)) continue;
      view.element.remove();
      this.views.delete(name);
    }
    let place = this.parent.firstChild;
    for (const item of items) {
      const name = key(item);
      let view = this.views.get(name);
      if (!view) {
        view = this.make(item);
        this.views.set(name, view);
      }
      if (view.element === place) place = place.nextSibling;
      else this.parent.insertBefore(view.element, place);
      view.update(item);
    }
  }
}
