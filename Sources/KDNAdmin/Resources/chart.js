// One chart over time: a plot by dygraphs, and below it the same numbers as a table.

import { colour, dash, gridColour } from "./colours.js";
import { clock } from "./format.js";

const AXIS_PIXELS = 62;
const LEGEND_ROWS = 3;
const LEGEND_ROW_REM = 1.46;
const SPAN_MS_MIN = 60_000;
const WAITING = "The first numbers come in a few seconds.";
const LEGEND_PLUGIN = "Legend Plugin";

// The built-in legend writes style attributes into markup, which the page's policy forbids; the
// table below each chart takes its place.
Dygraph.PLUGINS = Dygraph.PLUGINS.filter((plugin) => plugin.prototype.toString() !== LEGEND_PLUGIN);

const element = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

export class Chart {
  // spec: { title, unit, format, lines(history) -> [[label, values]], place(label, index),
  //         name(label), stacked, top, empty, rows }
  constructor(spec, onSelect) {
    this.spec = spec;
    this.onSelect = onSelect;
    this.labels = "";
    this.selected = null;
    this.build();
  }

  build() {
    this.card = element("figure", "card chart");
    const caption = element("figcaption");
    caption.append(element("h3", "", this.spec.title), element("span", "unit", this.spec.unit));
    this.plot = element("div", "plot");
    this.plot.tabIndex = 0;
    this.plot.setAttribute("role", "img");
    this.canvas = element("div", "canvas");
    this.empty = element("p", "empty", WAITING);
    this.plot.append(this.canvas, this.empty);
    const table = element("table", "legend");
    table.append(element("caption", "sr-only", `${this.spec.title} in numbers`));
    const head = element("tr");
    this.when = element("th", "", "now");
    for (const cell of [element("th", "", ""), this.when, element("th", "", "mean"),
      element("th", "", "max")]) {
      cell.scope = "col";
      head.append(cell);
    }
    head.firstChild.append(element("span", "sr-only", "Series"));
    table.append(element("thead"), element("tbody"));
    table.tHead.append(head);
    this.head = table.tHead;
    this.head.className = "unseen";
    this.rows = table.tBodies[0];
    table.style.minHeight = `${((this.spec.rows ?? LEGEND_ROWS) + 1) * LEGEND_ROW_REM}rem`;
    this.card.append(caption, this.plot, table);
    this.plot.addEventListener("keydown", (event) => this.walk(event));
    this.plot.addEventListener("blur", () => this.onSelect(null));
    new ResizeObserver(() => this.graph?.resize()).observe(this.canvas);
  }

  // Draws what the history holds of the last `window` milliseconds.
  draw(history, window) {
    const end = history.newest || Date.now();
    const first = history.times.findIndex((time) => time > end - window);
    const from = first < 0 ? 0 : first;
    this.times = history.times.slice(from);
    this.lines = this.spec.lines(history)
      .map(([label, values], index) => ({
        label, values: values.slice(from), place: this.spec.place?.(label, index) ?? index,
      }))
      .filter((line) => line.values.some((value) => value !== null));
    const isEmpty = !this.lines.some((line) => line.values.some((value) => value > 0));
    this.empty.hidden = !isEmpty;
    this.empty.textContent = this.times.length > 0 ? this.spec.empty : WAITING;
    this.canvas.classList.toggle("bare", isEmpty);
    // A young daemon's first minute fills the plot; later the time chosen does.
    const start = Math.max(end - window, Math.min(this.times[0] ?? end, end - SPAN_MS_MIN));
    if (this.lines.length > 0) this.drawLines([start, end]);
    this.tell();
  }

  drawLines(range) {
    const stacked = this.spec.stacked === true;
    const file = this.times.map((time, at) => [
      new Date(time),
      ...this.lines.map(({ values }) => (stacked ? values[at] ?? 0 : values[at])),
    ]);
    const labels = ["time", ...this.lines.map((line) => line.label)];
    const series = Object.fromEntries(
      this.lines.map((line) => [
        line.label,
        { color: colour(line.place), strokePattern: stacked ? null : dash(line.place) },
      ]),
    );
    const options = { file, labels, series, dateWindow: range, gridLineColor: gridColour() };
    options.colors = this.lines.map((line) => colour(line.place));
    options.valueRange = [0, this.top()];
    if (!this.graph) {
      const { file: rows, ...rest } = options;
      this.graph = new Dygraph(this.canvas, rows, { ...this.fixedOptions(), ...rest });
    } else {
      this.graph.updateOptions(options);
    }
    if (this.selected !== null) this.mark(this.selected);
  }

  fixedOptions() {
    const { format, stacked, binary } = this.spec;
    return {
      stackedGraph: stacked === true,
      fillAlpha: 0.55,
      strokeWidth: stacked ? 1 : 1.75,
      pointSize: 1.5,
      drawGapEdgePoints: true,
      highlightCircleSize: 3.5,
      interactionModel: {},
      labelsKMG2: binary === true,
      axisLineColor: "transparent",
      axisLabelFontSize: 11,
      rightGap: 8,
      highlightCallback: (_event, time) => this.onSelect(time),
      unhighlightCallback: () => this.onSelect(null),
      axes: {
        x: { drawGrid: false, pixelsPerLabel: 64, axisLabelFormatter: (date) => clock(+date) },
        y: {
          axisLabelWidth: AXIS_PIXELS, pixelsPerLabel: 34,
          axisLabelFormatter: (value) => (value === 0 ? "0" : format(value)),
        },
      },
    };
  }

  // A top somewhat above the highest point; 1 if all is flat, so that the axis has a scale.
  top() {
    if (this.spec.top !== undefined) return this.spec.top;
    const sums = this.times.map((_, at) => {
      const values = this.lines.map((line) => line.values[at] ?? 0);
      const stack = values.reduce((sum, value) => sum + value, 0);
      return this.spec.stacked ? stack : Math.max(...values);
    });
    return Math.max(0, ...sums) * 1.12 || 1;
  }

  // Shows the numbers of a time in the table and marks it in the plot; null for the newest.
  select(time) {
    const at = time === null ? -1 : this.times?.indexOf(time) ?? -1;
    this.selected = at < 0 ? null : time;
    this.when.textContent = at < 0 ? "now" : clock(time);
    if (this.graph) this.mark(this.selected);
    this.tell();
  }

  mark(time) {
    const at = this.times.indexOf(time);
    if (at < 0) this.graph.clearSelection();
    else this.graph.setSelection(at);
  }

  walk(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined || !this.times?.length) {
      if (event.key === "Escape") this.onSelect(null);
      return;
    }
    event.preventDefault();
    const here = this.selected === null ? this.times.length - 1 : this.times.indexOf(this.selected);
    const next = Math.min(this.times.length - 1, Math.max(0, here + step));
    this.onSelect(this.times[next]);
  }

  // Fills the table and the text that stands for the plot.
  tell() {
    const { format, title, name } = this.spec;
    const at = this.selected === null ? -1 : this.times.indexOf(this.selected);
    const told = [];
    const rows = (this.lines ?? []).map((line, index) => {
      const known = line.values.filter((value) => value !== null);
      const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
      const now = line.values.at(at) ?? null;
      const shown = name?.(line.label) ?? line.label;
      told.push(`${shown} ${format(now)}, mean ${format(mean)}`);
      return this.row(index, line.place, shown, [now, mean, Math.max(...known)].map(format));
    });
    this.rows.replaceChildren(...rows);
    this.head.classList.toggle("unseen", rows.length === 0);
    const text = this.empty.hidden ? told.join("; ") : this.empty.textContent;
    this.plot.setAttribute("aria-label", `${title}: ${text}. Arrow keys move through time.`);
  }

  row(index, place, shown, cells) {
    const row = element("tr");
    const head = element("th");
    head.scope = "row";
    const swatch = element("i", "swatch");
    swatch.style.color = colour(place);
    if (!this.spec.stacked && dash(place)) swatch.classList.add("dashed");
    if (this.spec.stacked) swatch.classList.add("filled");
    head.append(swatch, shown);
    row.append(head, ...cells.map((cell) => element("td", "", cell)));
    return row;
  }
}
