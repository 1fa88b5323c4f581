// The list of services. A closed one is a line; only open ones have rows of backends, so that a node with many services
// stays quick.

import { BackendRow, UnresolvedRow, table } from "./backend.js";
import { Keyed, byId, el, setAttribute, setOptional, setText } from "./dom.js";
import { counted, scaled, whole } from "./format.js";
import { backendKey } from "./rates.js";
import { condition, isMoving } from "./words.js";

/** Up to so many backends everything is open at the start. */
const OPEN_BACKENDS = 40;

/** A service: its line, and what opens below. */
class ServiceView {
  constructor(name, open, changes) {
    this.changes = changes;
    this.badge = el("span", { class: "badge" });
    this.vips = el("span", { class: "muted vips" });
    this.how = el("span", { class: "muted" });
    this.ready = el("span");
    this.traffic = el("span", { class: "traffic" });
    this.moving = el("span", { class: "badge", "data-level": "info", hidden: true }, "◐ moving");
    this.body = el("div", { class: "body", hidden: true });
    this.button = el(
      "button",
      { type: "button", class: "line", "aria-expanded": "false", onclick: () => this.toggle() },
      el("span", { class: "arrow", "aria-hidden": "true" }),
      el("span", { class: "who" }, el("span", { class: "name" }, name), " ", this.vips),
      el("span", { class: "states" }, this.badge, " ", this.moving, " ", this.ready),
      this.how,
      this.traffic,
    );
    this.element = el("article", { class: "service", "data-service": name }, el("h3", {}, this.button), this.body);
    if (open) this.toggle();
  }

  toggle(open = this.body.hidden) {
    this.body.hidden = !open;
    setAttribute(this.button, "aria-expanded", String(open));
    setAttribute(this.element, "data-open", open);
    if (!open) this.empty();
    else if (this.item) this.showBody(this.item);
  }

  /** Takes the rows away: they are made anew when it opens, or when there are other columns or rights. */
  empty() {
    this.body.replaceChildren();
    this.shape = null;
  }

  update(item) {
    this.item = item;
    const { service, rates } = item;
    const { level, sign, word } = condition(service);
    setAttribute(this.badge, "data-level", level);
    setText(this.badge, `${sign} ${word}`);
    setText(this.ready, `${service.ready} of ${service.backends.length + service.unresolved.length} ready`);
    setAttribute(this.ready, "title", `Backends that can take new connections; healthy with at least ${service.quorum}`);
    setText(this.vips, service.vips.length ? service.vips.map((vip) => vip.address).join(", ") : "pool");
    setText(this.how, `${service.protocol} · ${service.mode} · ${service.balance}`);
    this.moving.hidden = !isMoving(service);
    setText(this.traffic, traffic(service, rates));
    if (!this.body.hidden) this.showBody(item);
  }

  showBody({ service, rates }) {
    const allowed = this.changes.allowed;
    const shape = `${service.mode === "proxy"} ${allowed}`;
    if (this.shape !== shape) {
      this.shape = shape;
      this.facts = el("p", { class: "muted small" });
      this.slots = new Slots();
      const backends = table(service, allowed);
      this.none = el("p", { class: "empty" }, "The file names no backend of this service.");
      this.table = backends.element;
      this.rows = new Keyed(backends.body, (row) =>
        row.backend ? new BackendRow(row.service, row.backend, allowed ? this.changes : null) : new UnresolvedRow(row),
      );
      this.body.replaceChildren(this.facts, this.slots.element, this.none, this.table);
    }
    setText(this.facts, facts(service));
    this.slots.update(service);
    const rows = [
      ...service.backends.map((backend) => ({ service, backend, rates, key: backendKey(service, backend) })),
      ...service.unresolved.map((unresolved) => ({ service, unresolved, key: `?${unresolved.name}` })),
    ];
    this.none.hidden = rows.length > 0;
    this.table.hidden = rows.length === 0;
    this.rows.show(rows, (row) => row.key);
  }
}

/** How far a change of the ring has got. */
class Slots {
  constructor() {
    this.parts = ["stable", "moving", "settled"].map((name) => ({ name, bar: el("span", { "data-slots": name }) }));
    this.text = el("p", { class: "small" });
    const bar = el("div", { class: "bar", "aria-hidden": "true" }, ...this.parts.map(({ bar }) => bar));
    this.element = el("div", { class: "slots", hidden: true }, bar, this.text);
  }

  update(service) {
    this.element.hidden = !isMoving(service);
    if (this.element.hidden) return;
    for (const { name, bar } of this.parts) bar.style.flexGrow = service.slot_states[name];
    const said = this.parts.map(({ name }) => `${whole(service.slot_states[name])} ${name}`).join(", ");
    setText(this.text, `Slots: ${said}. Connections that are older than the change stay where they are.`);
  }
}

/** The line's rates. */
function traffic(service, rates) {
  const of = rates?.services.get(service.name);
  if (!of) return "";
  const { dropped, observed } = rates.refused.get(service.name) ?? { dropped: 0, observed: 0 };
  const said = service.mode === "proxy" ? [`${scaled(of.requests)} requests/s`] : [`${scaled(of.packets)} packets/s`];
  said.push(`${scaled(of.bytes, "B")}/s`);
  if (of.errors > 0) said.push(`${scaled(of.errors)} errors/s`);
  if (dropped > 0) said.push(`${scaled(dropped)} refused/s`);
  if (observed > 0) said.push(`${scaled(observed)} would be refused/s`);
  return said.join(" · ");
}

function facts(service) {
  const said = [`Healthy with ${counted(service.quorum, "backend")} or more that can take new connections`];
  if (service.http) {
    const { connections, waiting } = service.http;
    said.push(`${counted(connections, "connection")} of clients`);
    if (waiting) said.push(`${counted(waiting, "request")} waiting for a backend`);
  }
  return `${said.join("; ")}.`;
}

/** The section: filter, buttons, list. */
export class Services {
  constructor(changes) {
    this.opened = null;
    this.list = byId("service-list");
    this.views = new Keyed(this.list, ({ service }) => new ServiceView(service.name, this.opened, changes));
    this.filter = byId("filter");
    this.troubled = byId("troubled");
    for (const input of [this.filter, this.troubled]) input.addEventListener("input", () => this.show());
    byId("open-all").addEventListener("click", () => this.toggleAll(true));
    byId("close-all").addEventListener("click", () => this.toggleAll(false));
    this.empty = el("p", { class: "empty" });
    this.list.replaceChildren();
    this.list.after(this.empty);
    this.say("Waiting for the node.");
  }

  say(text) {
    setOptional(this.empty, text);
  }

  /** Those that are shown, so that a filter narrows what is opened. */
  toggleAll(open) {
    for (const view of this.views.views.values()) view.toggle(open);
  }

  update(status, rates) {
    this.status = status;
    this.rates = rates;
    if (this.opened === null) {
      const backends = status.services.reduce((sum, service) => sum + service.backends.length, 0);
      this.opened = backends <= OPEN_BACKENDS;
    }
    this.show();
  }

  show() {
    if (!this.status) return;
    const { services } = this.status;
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = services.filter(
      (service) => (!this.troubled.checked || condition(service).level !== "good") && matches(service, words),
    );
    byId("tools").hidden = services.length === 0;
    this.views.show(shown.map((service) => ({ service, rates: this.rates })), ({ service }) => service.name);
    if (!services.length) this.say("No service yet. Declare one by [[service]] in the node's file; it appears here at once.");
    else if (!shown.length) this.say(words.length ? "No service matches the filter." : "No service has problems.");
    else this.say(shown.length < services.length ? `${shown.length} of ${counted(services.length, "service")} shown.` : "");
  }
}

/** Is each word in a name or an address of the service or of its backends? */
function matches(service, words) {
  if (!words.length) return true;
  const text = [
    service.name,
    service.mode,
    ...service.vips.map((vip) => vip.address),
    ...service.backends.flatMap((backend) => [backend.name, backend.address, backend.host ?? ""]),
    ...service.unresolved.flatMap(({ name, host }) => [name, host]),
  ];
  const all = text.join("\n").toLowerCase();
  return words.every((word) => all.includes(word));
}
