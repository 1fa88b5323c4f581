// A backend's row: made once, changed in place.

import { el, setAttribute, setOptional, setText } from "./dom.js";
import { latency, percent, scaled, whole } from "./format.js";
import { backendKey } from "./rates.js";
import { conditions, flows, health, isTroubled } from "./words.js";

const rate = (of, name, unit) => scaled(of?.[name], unit);

/** Columns between state and probe: title, explanation, and what a backend shows. `of` are its rates, or null. */
const L4 = [
  ["Share", "Share of the hash slots that it serves", (b, of, service) => (service.table_size ? percent(b.slots / service.table_size) : "–")],
  ["Packets/s", "Packets forwarded to it", (b, of) => rate(of, "packets")],
  ["Bytes/s", "Bytes forwarded to it, Ethernet headers included", (b, of) => rate(of, "bytes", "B")],
  ["New flows/s", "Connections that clients open to it", (b, of) => rate(of, "new_flows")],
  ["Known flows", "Connections that the node remembers; see “What the words mean”", (b) => whole(flows(b))],
];
const PROXY = [
  ["Requests/s", "Requests sent to it", (b, of) => rate(of, "requests")],
  ["Bytes/s", "Bytes received from it and sent to it", (b, of) => rate(of, "bytes", "B")],
  ["Failures/s", "Requests that it did not answer, or not to the end", (b, of) => rate(of, "failures")],
  ["Under way", "Requests that it is answering", (b) => whole(flows(b))],
  ["Connections", "Open connections to it, idle ones too", (b) => whole(b.proxy?.connections ?? 0)],
];

/** The columns of a service. */
const columns = (service) => (service.mode === "proxy" ? PROXY : L4);

/** A table for the backends of a service; `element`, and the `body` for their rows. */
export function table(service, canChange) {
  const titles = [
    ["Backend"],
    ["State", "What health probes say, and what has been asked of it"],
    ["Weight", "Its share of new connections, relative to the others"],
    ...columns(service),
    ["Probe", "How long the last health probe took"],
  ];
  const head = el("tr", { role: "row" });
  titles.forEach(([title, explanation], i) => {
    head.append(el("th", { role: "columnheader", scope: "col", title: explanation, class: i > 1 ? "number" : null }, title));
  });
  if (canChange) head.append(el("th", { role: "columnheader", scope: "col" }, "Change"));
  const body = el("tbody", { role: "rowgroup" });
  const element = el(
    "table",
    { role: "table", class: "backends", "aria-label": `Backends of ${service.name}` },
    el("thead", { role: "rowgroup" }, head),
    body,
  );
  return { element, body };
}

/** One backend of a service. `changes` makes the buttons, or is null where nothing may be changed. */
export class BackendRow {
  constructor(service, backend, changes) {
    this.name = el("strong");
    this.address = el("span", { class: "muted" });
    this.sign = el("span", { "aria-hidden": "true" });
    this.word = el("span");
    this.conditions = el("span", { class: "conditions" });
    this.reason = el("span", { class: "muted reason" });
    this.trouble = el("span", { class: "trouble" });
    this.badge = el("span", { class: "badge" }, this.sign, " ", this.word);
    this.weight = el("span");
    this.inFile = el("span", { class: "muted" });
    this.values = columns(service).map(() => el("span"));
    this.probe = el("span");
    const cell = (label, ...children) => el("td", { role: "cell", class: "number", "data-label": label }, ...children);
    this.element = el(
      "tr",
      { role: "row", "data-backend": `${service.name}/${backend.name}` },
      el("th", { role: "rowheader", scope: "row" }, this.name, " ", this.address),
      el("td", { role: "cell", class: "state" }, this.badge, " ", this.conditions, this.reason, this.trouble),
      cell("Weight", this.weight, " ", this.inFile),
      ...columns(service).map(([title], i) => cell(title, this.values[i])),
      cell("Probe", this.probe),
    );
    this.buttons = changes?.buttons() ?? null;
    if (this.buttons) this.element.append(el("td", { role: "cell", class: "change" }, this.buttons.element));
  }

  update({ service, backend, rates }) {
    const { level, sign, word } = health(backend);
    setText(this.name, backend.name);
    setText(this.address, backend.host ? `${backend.host}, ${backend.address}` : backend.address);
    setAttribute(this.badge, "data-level", level);
    setText(this.sign, sign);
    setText(this.word, word);
    setAttribute(this.element, "data-health", backend.health);
    setAttribute(this.element, "data-state", backend.state);
    setAttribute(this.element, "data-troubled", isTroubled(backend));
    const said = conditions(backend);
    if (backend.state_in_file !== null) said.push(`file: ${backend.state_in_file}`);
    setOptional(this.conditions, said.join(", "));
    setOptional(this.reason, backend.health_reason);
    setOptional(this.trouble, backend.next_hop_reason && `Not reached: ${backend.next_hop_reason}`);
    setText(this.weight, whole(backend.weight));
    setOptional(this.inFile, backend.weight_in_file !== null && `(file: ${whole(backend.weight_in_file)})`);
    const of = rates?.backends.get(backendKey(service, backend)) ?? null;
    columns(service).forEach(([, , show], i) => setText(this.values[i], show(backend, of, service)));
    setText(this.probe, latency(backend.probe_microseconds));
    this.buttons?.update(service, backend);
  }
}

/** A backend of the file that has no address yet. */
export class UnresolvedRow {
  constructor({ service, unresolved }) {
    this.reason = el("span", { class: "muted reason" });
    this.element = el(
      "tr",
      { role: "row", "data-troubled": "" },
      el(
        "th",
        { role: "rowheader", scope: "row" },
        el("strong", {}, unresolved.name),
        " ",
        el("span", { class: "muted" }, `${unresolved.host}:${unresolved.port}`),
      ),
      el(
        "td",
        { role: "cell", class: "state", colspan: columns(service).length + 3 },
        el("span", { class: "badge", "data-level": "warn" }, "▲ no address"),
        " ",
        this.reason,
      ),
    );
  }

  update({ unresolved }) {
    setText(this.reason, unresolved.reason);
  }
}
