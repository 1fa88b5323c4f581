// The charts of the last hour, drawn by uPlot (a global of uplot.js).

import { byId, el, setAttribute, setText } from "./dom.js";
import { clock, scaled } from "./format.js";

/** What traffic is shown as: key of the history, title, unit. */
const MEASURES = [
  ["bytes", "bytes/s", "B"],
  ["packets", "packets/s", ""],
  ["new_flows", "new flows/s", ""],
  ["requests", "requests/s", ""],
];
/** A chart has lines of its own for the largest, and one for all others. */
const LINES = 7;
const OTHERS = "all others";
const HEIGHT = 200;
const HOUR_SECONDS = 3600;

const probe = el("span", { hidden: true });
document.body.append(probe);
/** A colour of the theme that is in force, as a canvas takes it. */
const colourOf = (name) => {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
};

/** The lines that a chart shows: the largest by their sum, in order of their names, so that colours stay. */
function lines(series) {
  const sums = [...series].map(([name, values]) => [name, values.reduce((sum, value) => sum + (value ?? 0), 0)]);
  const largest = sums.sort((a, b) => b[1] - a[1]).slice(0, LINES).map(([name]) => name);
  const shown = largest.sort().map((name) => [name, series.get(name)]);
  if (series.size > LINES) {
    const rest = [...series].filter(([name]) => !largest.includes(name)).map(([, values]) => values);
    shown.push([OTHERS, add(rest)]);
  }
  return shown;
}

function add(all) {
  const length = all.reduce((most, values) => Math.max(most, values.length), 0);
  const sum = new Array(length).fill(null);
  for (const values of all) {
    const before = length - values.length;
    values.forEach((value, i) => value !== null && (sum[before + i] = (sum[before + i] ?? 0) + value));
  }
  return sum;
}

/** One chart with its legend, whose buttons hide and show lines. */
class Chart {
  constructor(place, title) {
    this.place = place;
    this.title = title;
    this.drawing = el("div", { class: "drawing", role: "img" });
    this.legend = el("ul", { class: "legend" });
    this.empty = el("p", { class: "empty" }, "Nothing was measured in the last hour.");
    this.hidden = new Set();
    place.append(this.drawing, this.legend, this.empty);
    new ResizeObserver(() => this.fit()).observe(place);
  }

  fit() {
    const width = this.place.clientWidth;
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  show(times, series, unit) {
    const shown = lines(series);
    this.unit = unit;
    const none = times.length === 0 || shown.length === 0;
    this.empty.hidden = !none;
    this.drawing.hidden = this.legend.hidden = none;
    if (none) return;
    const data = [times, ...shown.map(([, values]) => [...new Array(times.length - values.length).fill(null), ...values])];
    const names = shown.map(([name]) => name);
    const shape = JSON.stringify([names, unit, colourOf("--text")]);
    if (shape !== this.shape) this.make(names, data, shape);
    else this.plot.setData(data);
    setAttribute(this.drawing, "aria-label", `${this.title}: ${names.join(", ")}`);
    this.say(null);
  }

  make(names, data, shape) {
    this.shape = shape;
    this.plot?.destroy();
    const [text, grid] = [colourOf("--muted"), colourOf("--line")];
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: "12px system-ui, sans-serif" };
    const colour = (i) => colourOf(names[i] === OTHERS ? "--muted" : `--chart-${i + 1}`);
    const options = {
      width: this.place.clientWidth || 300,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false } },
      scales: {
        x: { range: (plot, first, last) => [last - HOUR_SECONDS, last] },
        y: { range: (plot, least, most) => [0, most > 0 ? most * 1.1 : 1] },
      },
      axes: [
        { ...axis, values: (plot, at) => at.map((seconds) => clock(seconds).slice(0, 5)), space: 60 },
        { ...axis, values: (plot, at) => at.map((value) => scaled(value, this.unit)), size: 68 },
      ],
      series: [{}, ...names.map((name, i) => ({ label: name, stroke: colour(i), width: 1.75, points: { show: false }, show: !this.hidden.has(name) }))],
      hooks: { setCursor: [(plot) => this.say(plot.cursor.idx ?? null)] },
    };
    this.plot = new uPlot(options, data, this.drawing);
    this.values = names.map(() => el("span", { class: "value" }));
    this.time = el("li", { class: "muted" });
    const items = names.map((name, i) => {
      const swatch = el("span", { class: "swatch", "aria-hidden": "true" });
      swatch.style.backgroundColor = colour(i);
      const button = el("button", { type: "button", class: "quiet", "aria-pressed": String(!this.hidden.has(name)) }, swatch, `${name} `, this.values[i]);
      button.addEventListener("click", () => this.toggle(name, i, button));
      return el("li", {}, button);
    });
    this.legend.replaceChildren(...items, this.time);
  }

  toggle(name, i, button) {
    const show = this.hidden.delete(name);
    if (!show) this.hidden.add(name);
    setAttribute(button, "aria-pressed", String(show));
    this.plot.setSeries(i + 1, { show });
  }

  /** Says in the legend what the values are at a point, or at the last one. */
  say(point) {
    if (!this.values) return;
    const at = point ?? this.plot.data[0].length - 1;
    this.values.forEach((value, i) => setText(value, scaled(this.plot.data[i + 1][at], this.unit)));
    setText(this.time, point === null ? "" : `at ${clock(this.plot.data[0][at])}`);
  }
}

/** The section of both charts. */
export class Charts {
  constructor(history) {
    this.history = history;
    this.select = byId("measure");
    this.select.append(...MEASURES.map(([key, title]) => el("option", { value: key }, title)));
    this.select.addEventListener("change", () => this.show());
    this.section = byId("charts");
    this.traffic = new Chart(byId("traffic-chart"), "Traffic by service");
    this.drops = new Chart(byId("drops-chart"), "Dropped packets by reason");
  }

  /** Draws what the history holds now, in the colours of now. */
  show() {
    this.section.hidden = false;
    const [key, , unit] = MEASURES.find(([key]) => key === this.select.value);
    this.traffic.show(this.history.times, this.history.of(key), unit);
    this.drops.show(this.history.times, new Map(Object.entries(this.history.drops)), "");
  }
}
