// Rates per second, from one status to the next, and what they add up to.

const L4 = ["packets", "bytes", "new_flows"];
const CLIENTS = ["bytes", "requests"];
const ZERO = { packets: 0, bytes: 0, new_flows: 0, requests: 0, failures: 0 };

/** The counters of a backend that rates are shown of. */
export function counters(backend) {
  const proxy = backend.proxy;
  if (!proxy) {
    return {
      packets: backend.packets,
      bytes: backend.bytes,
      new_flows: backend.new_flows,
      requests: 0,
      failures: 0,
    };
  }
  return { packets: 0, new_flows: 0, bytes: proxy.received + proxy.sent, requests: proxy.requests, failures: proxy.failures };
}

/** What protection has refused by service, and under no name what was for none: sums over all reasons. */
function refusals(status) {
  const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);
  const sums = ({ dropped, observed }) => ({ dropped: sum(dropped), observed: sum(observed) });
  const each = status.services.filter(({ protection }) => protection).map(({ name, protection }) => [name, sums(protection.refused)]);
  return new Map(status.protection ? [["", sums(status.protection.addresses)], ...each] : each);
}

/** A backend's name for this page. A leaving one may have a namesake with another address. */
export const backendKey = (service, backend) => `${service.name}/${backend.name}@${backend.address}`;

/** Keeps the last status, and compares. */
export class Rates {
  /** Forgets what it knows: the next status has nothing to be compared with. */
  forget() {
    this.last = null;
  }

  /**
   * Takes a status that came at `now` (milliseconds). Answers with null when there is nothing to compare with, else with
   * `seconds` since the last one and rates in `backends` (by `backendKey`), `services` (by name), `drops` (by reason) and
   * `refused` (by service, as above).
   * A counter that has gone back was begun anew, and has no rate this time.
   */
  take(status, now) {
    const seen = { now, backends: new Map(), http: new Map(), drops: status.drops, refused: refusals(status) };
    for (const service of status.services) {
      if (service.http) seen.http.set(service.name, service.http);
      for (const backend of service.backends) seen.backends.set(backendKey(service, backend), counters(backend));
    }
    const last = this.last;
    this.last = seen;
    const seconds = last ? (now - last.now) / 1000 : 0;
    return seconds > 0 ? compare(status, last, seen, seconds) : null;
  }
}

function compare(status, last, seen, seconds) {
  const rates = { seconds, backends: new Map(), services: new Map(), drops: {}, refused: new Map() };
  const rate = (now, before) => (before === undefined || now < before ? 0 : (now - before) / seconds);
  for (const service of status.services) {
    const total = { ...ZERO };
    for (const backend of service.backends) {
      const key = backendKey(service, backend);
      const [now, before] = [seen.backends.get(key), last.backends.get(key)];
      const of = { ...ZERO };
      if (before) for (const name in of) of[name] = rate(now[name], before[name]);
      for (const name in of) total[name] += of[name];
      rates.backends.set(key, of);
    }
    const [http, before] = [service.http, last.http.get(service.name)];
    if (http && before) {
      total.requests = rate(http.requests, before.requests);
      total.bytes = rate(http.received + http.sent, before.received + before.sent);
      total.errors = rate(http.responses["5xx"], before.responses["5xx"]);
    }
    rates.services.set(service.name, total);
  }
  for (const [name, now] of seen.refused) {
    const before = last.refused.get(name);
    const of = (what) => rate(now[what], before?.[what]);
    rates.refused.set(name, { dropped: of("dropped"), observed: of("observed") });
  }
  for (const [reason, count] of Object.entries(status.drops)) rates.drops[reason] = rate(count, last.drops[reason]);
  return rates;
}

/** What the history has of a service: of a pool, which has no clients of its own, nothing. */
export function measures(service) {
  if (service.mode !== "proxy") return L4;
  return service.http ? CLIENTS : [];
}
