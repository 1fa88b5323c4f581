// What has changed since the page was opened: for readers, and read aloud where a screen reader runs. Rates are not in it.

import { byId, el } from "./dom.js";
import { clock, counted } from "./format.js";
import { backendKey } from "./rates.js";
import { conditions } from "./words.js";

/** Older lines go. */
const KEPT = 50;
/** So many changes at once are told one by one; of more, only their number. */
const TOLD = 5;

const describe = (backend) => [backend.health, ...conditions(backend)].join(", ");

/** Compares each status with the one before. */
export class Log {
  constructor() {
    this.list = byId("log");
    byId("changes").hidden = false;
  }

  take(status) {
    const now = new Map();
    const said = [];
    for (const service of status.services) {
      now.set(service.name, service.healthy ? "healthy" : "below its quorum");
      this.compare(now, service.name, said);
      for (const backend of service.backends) {
        const key = backendKey(service, backend);
        now.set(key, describe(backend));
        this.compare(now, key, said, `${service.name}/${backend.name}`, backend.health_reason);
      }
    }
    for (const key of this.last?.keys() ?? []) if (!now.has(key)) said.push(`${key.replace(/@.*/, "")} is gone`);
    if (this.last && this.reload !== status.reloads?.last) said.push("the node has read its file");
    this.last = now;
    this.reload = status.reloads?.last;
    for (const text of said.slice(0, TOLD)) this.say(text);
    if (said.length > TOLD) this.say(`and ${counted(said.length - TOLD, "more change")}`);
  }

  compare(now, key, said, name = key, reason = "") {
    if (!this.last || this.last.get(key) === now.get(key)) return;
    const before = this.last.get(key);
    said.push(`${name} is ${before === undefined ? "new: " : ""}${now.get(key)}${reason ? ` (${reason})` : ""}`);
  }

  say(text) {
    byId("log-empty").hidden = true;
    const time = el("time", { class: "muted" }, clock(Date.now() / 1000));
    this.list.prepend(el("li", {}, time, " ", text));
    while (this.list.childElementCount > KEPT) this.list.lastChild.remove();
  }
}
