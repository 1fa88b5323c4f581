// Numbers and times as people read them.

const SCALES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** 1234 as "1.23 k", with a unit behind. Null, which is unknown, as a dash. */
export function scaled(value, unit = "") {
  if (value === null || value === undefined) return "–";
  const [size, prefix] = SCALES.find(([size]) => value >= size) ?? [1, ""];
  const number = value / size;
  const digits = number >= 100 || (size === 1 && Number.isInteger(number)) ? 0 : number >= 10 ? 1 : 2;
  const tail = prefix + unit;
  return number.toFixed(digits) + (tail ? `\u00a0${tail}` : "");
}

/** A whole number with its thousands apart. */
export const whole = (value) => Math.round(value).toLocaleString("en");

/** `1 backend`, `2 backends`. */
export const counted = (count, noun) => `${whole(count)} ${noun}${count === 1 ? "" : "s"}`;

/** A duration of seconds by its two largest parts: "3 d 4 h". */
export function duration(seconds) {
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  let rest = Math.max(0, Math.floor(seconds));
  const first = parts.findIndex(([, size]) => rest >= size);
  if (first < 0) return "0 s";
  const said = [];
  for (const [name, size] of parts.slice(first, first + 2)) {
    if (rest >= size) said.push(`${Math.floor(rest / size)} ${name}`);
    rest %= size;
  }
  return said.join(" ");
}

/** Microseconds as milliseconds, or as what fits. */
export function latency(microseconds) {
  if (microseconds === null || microseconds === undefined) return "–";
  if (microseconds < 1000) return `${microseconds}\u00a0µs`;
  if (microseconds < 1e6) return `${(microseconds / 1000).toPrecision(3)}\u00a0ms`;
  return `${(microseconds / 1e6).toPrecision(3)}\u00a0s`;
}

/** A share in percent; small ones are not rounded to nothing. */
export function percent(share) {
  const value = share * 100;
  if (value > 0 && value < 0.1) return "<\u00a00.1\u00a0%";
  return `${value >= 10 || value === 0 ? Math.round(value) : value.toFixed(1)}\u00a0%`;
}

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const MOMENT = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** Of unix seconds: a day, a day with its time, a time with its seconds; all in the reader's time zone. */
export const day = (seconds) => DAY.format(seconds * 1000);
export const moment = (seconds) => MOMENT.format(seconds * 1000);
export const clock = (seconds) => CLOCK.format(seconds * 1000);
