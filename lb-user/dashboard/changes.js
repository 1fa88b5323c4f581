// Changing a backend: unlocking by the token, asking before each change, and saying what the node answers.

import { byId, el, setAttribute, setOptional, setText } from "./dom.js";
import { counted } from "./format.js";
import { problem } from "./stream.js";
import { flows } from "./words.js";

/** Where the tab keeps the token; it is gone when the tab is closed. */
const KEY = "fulcrum-token";

/** The token that this tab has, or null. */
export const token = () => sessionStorage.getItem(KEY);

/** What can be asked of a backend. `text` says what it will do. */
const ACTIONS = {
  drain: {
    label: "Drain",
    state: "drain",
    text: () => "It gets no new connections. Those that it has go on until they end, or until the drain timeout has passed.",
  },
  enable: {
    label: "Enable",
    state: "active",
    text: (backend) => `It gets its share of new connections again${backend.health === "up" ? "" : ", once its probes succeed"}.`,
  },
  disable: {
    label: "Disable",
    state: "disabled",
    danger: true,
    text: (backend) => {
      const under = backend.proxy ? "request under way" : "known connection";
      return `It gets nothing any more, and what it has is cut off at once: now ${counted(flows(backend), under)}.`;
    },
  },
  weight: {
    label: "Weight",
    text: (backend) => {
      const inFile = backend.weight_in_file === null ? "" : `; the file says ${backend.weight_in_file}`;
      return `Its share of new connections, relative to the others; 0 gives it none. It has ${backend.weight}${inFile}. Existing connections stay where they are.`;
    },
  },
};

/** What the node takes in the backend's state: one that leaves can only be cut off. */
function possible(backend) {
  if (backend.leaving) return backend.state === "disabled" ? [] : ["disable"];
  return {
    active: ["drain", "disable", "weight"],
    drain: ["enable", "disable", "weight"],
    disabled: ["enable", "drain", "weight"],
  }[backend.state] ?? ["enable", "drain", "disable", "weight"];
}

/** Would the service have nobody left? */
function isLast(service, backend) {
  const serves = ({ state, health, weight }) => state === "active" && health === "up" && weight > 0;
  return serves(backend) && service.backends.filter(serves).length === 1;
}

/** Buttons of a backend. */
class Buttons {
  constructor(changes) {
    this.element = el("div", { class: "buttons" });
    this.buttons = Object.entries(ACTIONS).map(([action, { label }]) => {
      const onclick = () => changes.ask(action, this.service, this.backend);
      const button = el("button", { type: "button", class: "quiet", "data-action": action, onclick }, label);
      this.element.append(button);
      return { action, label, button };
    });
  }

  update(service, backend) {
    this.service = service;
    this.backend = backend;
    const can = possible(backend);
    for (const { action, label, button } of this.buttons) {
      button.hidden = !can.includes(action);
      setAttribute(button, "aria-label", `${label} ${service.name}/${backend.name}`);
    }
  }
}

/** The dialogs, and whether changes are allowed. */
export class Changes {
  /** `reconnect()` begins the stream anew, with the token of now; its `hello` says what may be changed. */
  constructor(reconnect) {
    this.reconnect = reconnect;
    this.allowed = false;
    this.unlockDialog = dialog("unlock");
    this.changeDialog = dialog("change");
    this.lock = byId("lock");
    this.lock.addEventListener("click", () => (this.allowed ? this.forget() : this.unlock()));
    byId("unlock-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.tryToken(byId("token").value.trim());
    });
    byId("change-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
  }

  buttons() {
    return new Buttons(this);
  }

  /** The stream has begun: may this caller change things, and does the node have a token at all? */
  hello({ changes, token: hasToken }) {
    this.allowed = changes;
    this.lock.hidden = !hasToken;
    setText(this.lock, changes ? "Lock changes" : "Unlock changes");
    if (changes) this.unlockDialog.close();
  }

  /** The node refuses the stream, with this token or for want of one. Without one it may still show something. */
  refused({ status, why }) {
    const wrong = token() !== null;
    sessionStorage.removeItem(KEY);
    this.allowed = false;
    this.lock.hidden = false;
    setText(this.lock, "Unlock");
    if (wrong) {
      this.unlock(`The node refuses this token (${status}): ${why}`);
      this.reconnect();
    } else if (!this.unlockDialog.open) this.unlock();
  }

  unlock(error = null) {
    setOptional(byId("unlock-error"), error);
    byId("unlock-form").querySelector("[type=submit]").disabled = false;
    if (this.unlockDialog.open) return;
    byId("token").value = "";
    this.unlockDialog.showModal();
    byId("token").focus();
  }

  tryToken(text) {
    byId("unlock-form").querySelector("[type=submit]").disabled = true;
    setOptional(byId("unlock-error"), null);
    sessionStorage.setItem(KEY, text);
    this.reconnect();
  }

  forget() {
    sessionStorage.removeItem(KEY);
    this.reconnect();
  }

  /** Says what a change will do, and waits for a yes. */
  ask(action, service, backend) {
    const { label, text, state, danger } = ACTIONS[action];
    const name = `${service.name}/${backend.name}`;
    this.asked = { action, service: service.name, backend: backend.address, name };
    setText(byId("change-title"), `${label} ${name}${action === "weight" ? "" : "?"}`);
    setText(byId("change-text"), text(backend));
    const warns = (state === "drain" || state === "disabled") && isLast(service, backend);
    setOptional(byId("change-warning"), warns && `No other backend of ${service.name} can take new connections: they will be refused or dropped.`);
    const weight = byId("weight");
    byId("weight-label").hidden = action !== "weight";
    weight.required = action === "weight";
    weight.disabled = action !== "weight";
    weight.value = backend.weight_in_file ?? backend.weight;
    setText(byId("change-command"), `fulcrum ${action} ${name}${action === "weight" ? " N" : ""}`);
    setOptional(byId("change-error"), null);
    const submit = byId("change-submit");
    setText(submit, action === "weight" ? "Set weight" : label);
    setAttribute(submit, "data-danger", Boolean(danger));
    submit.disabled = false;
    this.changeDialog.showModal();
    if (action === "weight") weight.select();
  }

  async send() {
    const { action, service, backend } = this.asked;
    const change = action === "weight" ? { weight: Number(byId("weight").value) } : { state: ACTIONS[action].state };
    const submit = byId("change-submit");
    submit.disabled = true;
    const error = await patch(service, backend, change);
    submit.disabled = false;
    setOptional(byId("change-error"), error);
    if (!error) this.changeDialog.close();
  }
}

/** Asks the node for a change. Null when it is made, else why not. */
async function patch(service, backend, change) {
  const path = `api/v1/services/${encodeURIComponent(service)}/backends/${encodeURIComponent(backend)}`;
  try {
    const response = await fetch(path, {
      method: "PATCH",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${token()}` },
      body: JSON.stringify(change),
    });
    if (!response.ok) return `The node refuses (${response.status}): ${await problem(response)}`;
    const { fault, overrides_fault: forgets } = await response.json();
    if (fault) return `The node has taken it, but could not carry it out yet: ${fault}`;
    return forgets ? `It is done, but a restart may forget it: ${forgets}` : null;
  } catch (error) {
    return `The node was not reached: ${error.message}`;
  }
}

/** A dialog that its Cancel button closes; Escape does so by itself. */
function dialog(name) {
  const element = byId(`${name}-dialog`);
  element.querySelector("[data-close]").addEventListener("click", () => element.close());
  return element;
}
