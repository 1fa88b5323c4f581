// The node as a whole: its banners, totals, what is refused, drops, certificates and upkeep.

import { Keyed, byId, el, setAttribute, setOptional, setText } from "./dom.js";
import { counted, day, duration, moment, percent, scaled, whole } from "./format.js";
import { condition } from "./words.js";

const DAY_SECONDS = 86_400;
/** A certificate with fewer days left is a warning; with fewer still it is bad. */
const WARN_DAYS = 21;
const BAD_DAYS = 7;

/** Where what would be refused goes on, in words. */
function observers(status) {
  if (status.protection?.enforcement === "observe") return "[protection] drops nothing: what would be refused goes on, and is counted.";
  const services = status.services.filter(({ protection }) => protection?.enforcement === "observe").map(({ name }) => name);
  return services.length && `What would be refused goes on, and is counted, at ${services.join(", ")}.`;
}

/** What people must know first, the worst on top. */
function banners(status) {
  const said = [];
  const add = (level, title, text) => text && said.push({ level, title, text });
  add("bad", "The kernel is not as the file wants it", status.fault);
  add("warn", "This node drains", status.draining && "Clients go to other nodes, until `fulcrum node enable`.");
  for (const { name, reason } of status.unattached_interfaces) add("bad", `Not attached to ${name}`, reason);
  add("bad", "The last reload was refused; the running configuration stays", status.refused_reload);
  for (const { name, rival, notify_fault } of status.virtual_routers ?? []) {
    add("bad", `Two masters of ${name}`, rival && "Another node says that it is master, too: which of them clients reach is chance.");
    add("warn", `The program that is told of the role in ${name} fails`, notify_fault);
  }
  for (const { service, last_error } of status.certificates ?? []) add("warn", `No new certificate for ${service}`, last_error);
  add("warn", "Protection only observes", observers(status));
  add("warn", "The file is not as it was last read", status.unread_file);
  add("warn", "A restart may forget what commands have set", status.overrides_fault);
  const generic = status.interfaces.filter(({ mode }) => mode === "generic").map(({ name }) => name);
  add("info", "Slower than it could be", generic.length && `The program runs after the driver, not in it, on ${generic.join(", ")}.`);
  return said;
}

/** A line with a title and a text that may have several lines. */
class Banner {
  constructor() {
    this.title = el("strong");
    this.text = el("span");
    this.element = el("div", { class: "banner" }, this.title, this.text);
  }

  update({ level, title, text }) {
    setAttribute(this.element, "data-level", level);
    setText(this.title, title);
    setText(this.text, text);
    setAttribute(this.element, "data-lines", text.includes("\n"));
  }
}

/** A term and what it is. */
class Fact {
  constructor() {
    this.term = el("dt");
    this.value = el("dd");
    this.note = el("dd", { class: "muted small" });
    this.element = el("div", {}, this.term, this.value, this.note);
  }

  update({ term, value, level, note }) {
    setText(this.term, term);
    setText(this.value, value);
    setAttribute(this.value, "data-level", level ?? null);
    setOptional(this.note, note);
  }
}

function totals(status, rates) {
  const sum = { packets: 0, bytes: 0, requests: 0 };
  for (const of of rates?.services.values() ?? []) for (const name in sum) sum[name] += of[name];
  const dropped = rates && Object.values(rates.drops).reduce((all, rate) => all + rate, 0);
  const { services } = status;
  const healthy = services.filter((service) => service.healthy).length;
  const backends = services.flatMap((service) => service.backends);
  const up = backends.filter((backend) => backend.health === "up").length;
  const facts = [
    { term: "Services healthy", value: `${whole(healthy)} of ${whole(services.length)}`, level: healthy < services.length ? "bad" : null },
    { term: "Backends up", value: `${whole(up)} of ${whole(backends.length)}`, level: up < backends.length ? "warn" : null },
    { term: "Traffic", value: rates ? `${scaled(sum.bytes, "B")}/s` : "–" },
  ];
  const [l4, l7] = [services.some(({ mode }) => mode !== "proxy"), services.some(({ mode }) => mode === "proxy")];
  if (l4) facts.push({ term: "Packets", value: rates ? `${scaled(sum.packets)}/s` : "–" });
  if (l7) facts.push({ term: "Requests", value: rates ? `${scaled(sum.requests)}/s` : "–" });
  if (status.protection) {
    const refused = { dropped: 0, observed: 0 };
    for (const of of rates?.refused.values() ?? []) for (const what in refused) refused[what] += of[what];
    const fact = (term, rate) => facts.push({ term, value: rates ? `${scaled(rate)}/s` : "–", level: rate > 0 ? "warn" : null });
    fact("Refused", refused.dropped);
    if (observers(status)) fact("Would be refused", refused.observed);
  }
  facts.push({ term: "Dropped", value: rates ? `${scaled(dropped)}/s` : "–" });
  return facts;
}

/** Certificates that the node shows and that its backends have shown; the first to end comes first. */
function certificates(status) {
  const own = status.services.flatMap((service) =>
    (service.certificates ?? []).map(({ name, not_after }) => ({ of: service.name, name, end: not_after })),
  );
  const shown = status.services.flatMap((service) =>
    service.backends
      .filter((backend) => backend.certificate_not_after !== null)
      .map((backend) => ({ of: `${service.name}/${backend.name}`, name: "shown to probes", end: backend.certificate_not_after })),
  );
  return [...own, ...shown].sort((a, b) => a.end - b.end);
}

/** What becomes of a certificate that the node orders, in words. */
function upcoming({ doing, renew_at, failures }, now) {
  if (doing === "ordering") return "being ordered";
  if (renew_at === null) return "by another node";
  if (renew_at <= now) return "due";
  return `${failures ? "again" : "renewed"} in ${duration(renew_at - now)}`;
}

function upkeep(status) {
  const { reloads, flows } = status;
  const room = ({ entries, capacity }) => `${whole(entries)} of ${whole(capacity)} (${percent(entries / capacity)})`;
  const missed = ({ no_room }) => (no_room ? `${counted(no_room, "flow")} found no room` : null);
  const repaired = Object.entries(status.repairs).filter(([, count]) => count > 0);
  const facts = [];
  if (reloads) {
    const refused = reloads.refused ? `${whole(reloads.refused)} refused` : null;
    const last = reloads.last ? `file last read ${moment(reloads.last)}` : null;
    facts.push({ term: "Reloads", value: `${whole(reloads.accepted)} accepted`, note: [refused, last].filter(Boolean).join(", ") });
  }
  facts.push({ term: "Interfaces", value: status.interfaces.map(({ name, mode }) => `${name} (${mode})`).join(", ") || "none" });
  facts.push({ term: "Flows of changed slots", value: room(flows.flows), note: missed(flows.flows) });
  facts.push({ term: "Flows chosen by turn or load", value: room(flows.tracked), note: missed(flows.tracked) });
  facts.push({
    term: "Put right after others",
    value: repaired.length ? repaired.map(([kind, count]) => `${kind}: ${whole(count)}`).join(", ") : "nothing",
  });
  return facts;
}

/** What protection has refused: a row for each service, and another one for what is only observed. */
function refused(status, rates) {
  const all = status.services.filter(({ protection }) => protection).map(({ name, protection }) => ({ name, refused: protection.refused }));
  all.push({ name: "", refused: status.protection.addresses });
  const row = ({ name, refused }, what, title) => {
    const counts = Object.entries(refused[what]).filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1]);
    if (!counts.length) return [];
    const rate = rates ? `${scaled(rates.refused.get(name)?.[what])}/s` : "–";
    const reasons = counts.map(([reason, count]) => `${reason} ${whole(count)}`).join(", ");
    const total = whole(counts.reduce((sum, [, count]) => sum + count, 0));
    return [{ key: `${what} ${name}`, texts: [(name || "no service") + title, reasons, rate, total] }];
  };
  return all.flatMap((of) => [...row(of, "dropped", ""), ...row(of, "observed", " (only observed)")]);
}

/** What protection has besides, in words. */
function protection(status) {
  const { enforcement, prefixes, addresses } = status.protection;
  const all = [addresses, ...status.services.filter(({ protection }) => protection).map(({ protection }) => protection.refused)];
  const sum = (what) => all.reduce((total, refused) => total + refused[what], 0);
  const said = [`[protection]: ${enforcement}`, `${whole(prefixes)} ${prefixes === 1 ? "prefix" : "prefixes"} in lists`];
  const [answered, accepted, evicted] = [sum("cookies_answered"), sum("cookies_accepted"), sum("sources_evicted")];
  if (answered) said.push(`${counted(answered, "SYN cookie")} sent, ${whole(accepted)} came back as connections`);
  if (evicted) said.push(`${counted(evicted, "time")} a source that had sent much was forgotten for want of room`);
  return `${said.join("; ")}.`;
}

/** What the node is in a virtual router: a sign for those that are not as they should be, and a level. */
const ROLES = {
  master: { text: "● master" },
  backup: { text: "○ backup" },
  waiting: { text: "▲ waiting", level: "warn" },
  fault: { text: "✖ fault", level: "bad" },
};

/** What becomes of a VIP that a routing daemon announces. */
const ANNOUNCED = { true: { text: "● announced" }, false: { text: "✖ not announced", level: "bad" } };

/** A table with a row for each item: `row(item)` answers with what its cells show, and a level for the last one. */
class Rows {
  constructor(titles, label) {
    const body = el("tbody", { role: "rowgroup" });
    const head = titles.map((title, i) => el("th", { role: "columnheader", scope: "col", class: i > 1 ? "number" : null }, title));
    this.element = el(
      "table",
      { role: "table", "aria-label": label },
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...head)),
      body,
    );
    this.rows = new Keyed(body, () => {
      const cells = titles.map((title, i) => el("td", { role: "cell", "data-label": title, class: i > 1 ? "number" : null }));
      const element = el("tr", { role: "row" }, ...cells);
      const update = ({ texts, level }) => {
        texts.forEach((text, i) => setText(cells[i], text));
        setAttribute(cells.at(-1), "data-level", level ?? null);
      };
      return { element, update };
    });
  }

  show(rows) {
    this.element.hidden = rows.length === 0;
    this.rows.show(rows, ({ key }) => key);
  }
}

/** Everything of the page that is about the node and not about one service. */
export class Node {
  constructor() {
    this.banners = new Keyed(byId("banners"), () => new Banner());
    this.totals = new Keyed(byId("totals"), () => new Fact());
    this.upkeep = new Keyed(byId("upkeep-list"), () => new Fact());
    this.certificates = new Rows(["Of", "Certificate", "Valid until", "Left"], "Certificates");
    this.ordered = new Rows(["Ordered for", "Names, and by whom", "Next", "Serves"], "Certificates that are ordered");
    byId("certificate-list").append(this.certificates.element, this.ordered.element);
    this.peers = new Rows(["Peer", "How it is", "Told of", "Behind"], "Peers");
    byId("peer-list").append(this.peers.element);
    this.routers = new Rows(["Virtual router", "Addresses, and why the node is what it is", "Priority", "Role"], "Virtual routers");
    byId("router-list").append(this.routers.element);
    this.announcements = new Rows(["Address", "Why", "Route"], "Announced addresses");
    byId("announcement-list").append(this.announcements.element);
    this.refused = new Rows(["Service", "Refused, by reason", "Now", "Total"], "Refused packets");
    this.noneRefused = el("p", { class: "empty" }, "Nothing has been refused.");
    this.protection = el("p", { class: "muted small" });
    byId("refused-list").append(this.protection, this.refused.element, this.noneRefused);
    this.drops = new Rows(["Reason", "What it means", "Now", "Total"], "Dropped packets");
    this.noDrops = el("p", { class: "empty" }, "None.");
    this.others = el("ul", { class: "small" });
    const summary = el("summary", {}, "Reasons that have not been seen");
    this.unseen = el("details", { class: "small" }, summary, this.others);
    byId("drop-list").append(this.drops.element, this.noDrops, this.unseen);
    this.otherReasons = new Keyed(this.others, (reason) => {
      const element = el("li", {}, el("code", {}, reason), ": ", this.explain(reason));
      return { element, update() {} };
    });
  }

  hello(hello) {
    this.explanations = hello.drops;
  }

  explain(reason) {
    return this.explanations?.[reason] ?? "";
  }

  update(status, rates) {
    const now = Date.now() / 1000;
    setText(byId("node"), status.node);
    const up = status.started ? ` · up ${duration(now - status.started)}` : "";
    setText(byId("facts"), `Fulcrum ${status.version}${up}`);
    const said = banners(status);
    this.banners.show(said, ({ title }) => title);
    this.totals.show(totals(status, rates), ({ term }) => term);
    this.upkeep.show(upkeep(status), ({ term }) => term);
    this.showRouters(status.virtual_routers ?? []);
    this.showAnnouncements(status.announcements ?? []);
    this.showPeers(status.peers ?? []);
    this.showCertificates(certificates(status), now);
    this.showOrdered(status.certificates ?? [], now);
    this.showProtection(status, rates);
    this.showDrops(status, rates);
    for (const id of ["totals", "drops", "upkeep"]) byId(id).hidden = false;
    const problems = said.filter(({ level }) => level !== "info").length + status.services.filter((s) => condition(s).level !== "good").length;
    document.title = `${problems ? `(${problems}) ` : ""}${status.node} · Fulcrum`;
  }

  showRouters(all) {
    byId("routers").hidden = all.length === 0;
    const rows = all.map(({ name, addresses, reason, priority, priority_in_file, role }) => {
      const { text, level } = ROLES[role] ?? { text: role };
      const said = priority === priority_in_file ? whole(priority) : `${whole(priority)} (file: ${whole(priority_in_file)})`;
      return { key: name, texts: [name, `${addresses.join(", ")}: ${reason}`, said, text], level };
    });
    this.routers.show(rows);
  }

  showAnnouncements(all) {
    byId("announcements").hidden = all.length === 0;
    const rows = all.map(({ address, reason, announced }) => {
      const { text, level } = ANNOUNCED[announced];
      return { key: address, texts: [address, reason, text], level };
    });
    this.announcements.show(rows);
  }

  showPeers(all) {
    byId("peers").hidden = all.length === 0;
    const rows = all.map(({ name, address, reason, heard, sent, taken, lag_ms }) => {
      const told = reason ? `✖ is not told of flows (${reason})` : "is told of flows";
      const tells = heard ? `has told of ${whole(taken)}` : "✖ does not tell";
      const level = reason || !heard ? "bad" : lag_ms > 1000 ? "warn" : null;
      return { key: name, texts: [name, `${address}: ${told}, ${tells}`, whole(sent), reason ? "–" : `${whole(lag_ms)} ms`], level };
    });
    this.peers.show(rows);
  }

  showCertificates(all, now) {
    byId("certificates").hidden = all.length === 0;
    const rows = all.map(({ of, name, end }) => {
      const days = Math.floor((end - now) / DAY_SECONDS);
      const left = end < now ? "expired" : counted(days, "day");
      const level = days < BAD_DAYS ? "bad" : days < WARN_DAYS ? "warn" : null;
      return { key: `${of} ${name}`, texts: [of, name, day(end), level ? `${level === "bad" ? "✖" : "▲"} ${left}` : left], level };
    });
    this.certificates.show(rows);
  }

  showOrdered(all, now) {
    if (all.length > 0) byId("certificates").hidden = false;
    const rows = all.map((one) => {
      const { service, domains, directory, challenge, origin, failures } = one;
      const serves = origin === "issued" ? "● issued" : "▲ stand-in";
      const level = origin !== "issued" || failures > 0 ? "warn" : null;
      const by = `${domains.join(", ")}: ${directory}, ${challenge}`;
      return { key: service, texts: [service, by, upcoming(one, now), serves], level };
    });
    this.ordered.show(rows);
  }

  showProtection(status, rates) {
    byId("protection").hidden = !status.protection;
    if (!status.protection) return;
    setText(this.protection, protection(status));
    const rows = refused(status, rates);
    this.refused.show(rows);
    this.noneRefused.hidden = rows.length > 0;
  }

  showDrops(status, rates) {
    const counts = Object.entries(status.drops).sort((a, b) => b[1] - a[1]);
    const seen = counts.filter(([, count]) => count > 0);
    const rows = seen.map(([reason, count]) => {
      const rate = rates ? `${scaled(rates.drops[reason])}/s` : "–";
      return { key: reason, texts: [reason, this.explain(reason), rate, whole(count)] };
    });
    this.drops.show(rows);
    this.noDrops.hidden = rows.length > 0;
    const others = counts.filter(([, count]) => count === 0).map(([reason]) => reason).sort();
    this.unseen.hidden = others.length === 0;
    this.otherReasons.show(others, (reason) => reason);
  }
}
