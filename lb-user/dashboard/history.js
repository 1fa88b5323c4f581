// The last hour: what the node has kept, and what the page adds to it.

import { measures } from "./rates.js";

/** Series of rates over time, bounded by what the node keeps. */
export class History {
  constructor() {
    this.load({ step_seconds: 10, end: 0, services: {}, drops: {} });
  }

  /** Begins anew with the node's history. */
  load(history) {
    this.step = history.step_seconds;
    this.services = history.services;
    this.drops = history.drops;
    const every = [...Object.values(this.services).flatMap(Object.values), ...Object.values(this.drops)];
    const length = every.reduce((most, series) => Math.max(most, series.length), 0);
    this.kept = Math.max(3600 / this.step, length);
    /** Unix seconds of each point. */
    this.times = Array.from({ length }, (_, i) => history.end - (length - 1 - i) * this.step);
    this.begin();
  }

  begin() {
    this.sum = { seconds: 0, services: new Map(), drops: {} };
  }

  /** Adds rates, and once a step is full, a point to each series. True when there is a new one. */
  take(status, rates) {
    const { sum } = this;
    sum.seconds += rates.seconds;
    for (const service of status.services) {
      let total = sum.services.get(service.name);
      if (!total) sum.services.set(service.name, (total = {}));
      for (const [name, rate] of Object.entries(rates.services.get(service.name))) {
        total[name] = (total[name] ?? 0) + rate * rates.seconds;
      }
    }
    for (const [reason, rate] of Object.entries(rates.drops)) {
      sum.drops[reason] = (sum.drops[reason] ?? 0) + rate * rates.seconds;
    }
    if (sum.seconds < this.step) return false;
    this.append(status);
    return true;
  }

  append(status) {
    const { sum } = this;
    const add = (series, value) => {
      while (series.length < this.times.length) series.unshift(null);
      series.push(value);
      while (series.length > this.kept) series.shift();
    };
    for (const service of status.services) {
      const series = (this.services[service.name] ??= {});
      for (const name of measures(service)) add((series[name] ??= []), sum.services.get(service.name)[name] / sum.seconds);
    }
    for (const name of Object.keys(this.services)) if (!sum.services.has(name)) delete this.services[name];
    for (const [reason, count] of Object.entries(sum.drops)) {
      if (count > 0 || this.drops[reason]) add((this.drops[reason] ??= []), count / sum.seconds);
    }
    this.times.push(Math.round(Date.now() / 1000));
    if (this.times.length > this.kept) this.times.shift();
    this.begin();
  }

  /** Each service's series of a measure, by name; services that are not measured by it are left out. */
  of(measure) {
    const named = Object.entries(this.services).map(([name, series]) => [name, series[measure]]);
    return new Map(named.filter(([, series]) => series));
  }
}
