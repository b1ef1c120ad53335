// Which charts there are, and which lines of the history each draws.

import { Chart } from "./chart.js";
import * as format from "./format.js";

const OPERATIONS = [
  "GET", "PUT_COMMIT", "MATCH", "EXISTS", "PUT_BEGIN", "PUT_DATA", "HELLO", "LAYOUT", "RELEASE",
  "TOUCH", "PIN", "UNPIN", "PREFETCH", "PURGE", "STATS", "DOCUMENT", "PUT_ABORT",
  "GOAWAY",
];
export const CAUSES = [
  "never_stored", "evicted", "expired", "wrong_layout", "over_deadline", "corrupt", "not_ready",
  "purged", "over_credit", "recompute", "inexact", "undecodable",
];
const OPERATIONS_SHOWN = 6;
const UNASKED = "Nothing has been asked for yet.";
const tiers = { ram: "RAM", disk: "disk", all: "together" };

const fixed = (order) => (label, index) => {
  const at = order.indexOf(label);
  return at < 0 ? order.length + index : at;
};
const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);

// The busiest operations each for itself, and the rest as one.
function busiest(lines) {
  const ranked = [...lines].sort(([, left], [, right]) => sum(right) - sum(left));
  const shown = ranked.slice(0, OPERATIONS_SHOWN).filter(([, values]) => sum(values) > 0);
  const rest = ranked.slice(shown.length).map(([, values]) => values);
  const kept = lines.filter((line) => shown.includes(line));
  if (!rest.some((values) => sum(values) > 0)) return kept;
  const others = rest[0].map((_, at) => sum(rest.map((values) => values[at])));
  return [...kept, ["others", others]];
}

const named = (name, order = []) => ({
  lines: (history) => history.lines(name, order),
  place: fixed(order),
});
const occurring = (name, order) => ({
  lines: (history) => history.lines(name, order).filter(([, values]) => sum(values) > 0),
  place: fixed(order),
});

const latency = (operation) => ({
  title: operation,
  unit: "per request",
  format: format.microseconds,
  lines: (history) => ["p50", "p90", "p99"].flatMap((label) =>
    history.lines(`latency_${label}_microseconds`)
      .filter(([name]) => name === operation)
      .map(([, values]) => [label, values])),
  place: fixed(["p50", "p90", "p99"]),
  empty: `No ${operation} has been asked for yet.`,
});

const specs = {
  throughput: {
    title: "Throughput", unit: "bytes a second", format: format.bytesPerSecond, binary: true,
    ...named("bytes_per_second", ["sent", "received"]), empty: "No bytes have gone either way yet.",
  },
  requests: {
    title: "Requests", unit: "a second, by operation", format: format.perSecond,
    lines: (history) => busiest(history.lines("requests_per_second", OPERATIONS)),
    place: fixed(OPERATIONS), empty: UNASKED, rows: OPERATIONS_SHOWN + 1,
  },
  connections: {
    title: "Connections", unit: "open, by link", format: format.count,
    ...named("connections", ["tcp", "tls", "unix", "resp"]), empty: "Nobody is connected.",
    name: (label) => (label === "unix" ? "Unix socket" : label.toUpperCase()),
  },
  errors: {
    title: "Errors", unit: "answers a second, by status", format: format.perSecond, stacked: true,
    ...occurring("errors_per_second", []), name: format.words, empty: "No request has failed.",
  },
  hits: {
    title: "Hit ratio", unit: "share of lookups, by tier", format: format.ratio, top: 1.02,
    ...named("hit_ratio", ["ram", "disk", "all"]), name: (label) => tiers[label] ?? label,
    empty: "Nothing has been looked up, or nothing of it was here.",
  },
  misses: {
    title: "Misses", unit: "a second, by cause", format: format.perSecond, stacked: true,
    ...occurring("misses_per_second", CAUSES), name: format.words,
    empty: "Nothing has been missed.",
  },
  evictions: {
    title: "Evictions", unit: "objects a second, by tier", format: format.perSecond, stacked: true,
    ...named("evictions_per_second", ["ram", "disk"]), name: (label) => tiers[label] ?? label,
    empty: "Nothing has had to make room.",
  },
  fill: {
    title: "Fill", unit: "share of the room used, by tier", format: format.ratio, top: 1.02,
    ...named("used_ratio", ["ram", "disk"]), name: (label) => tiers[label] ?? label,
    empty: "Nothing is stored yet.",
  },
  get: latency("GET"),
  put: latency("PUT_COMMIT"),
  match: latency("MATCH"),
  exists: latency("EXISTS"),
  disk: {
    title: "Disk traffic", unit: "bytes a second", format: format.bytesPerSecond, binary: true,
    ...named("disk_bytes_per_second", ["read", "written"]),
    empty: "Nothing has been read from or written to disk.",
  },
  codec: {
    title: "Codec ratio", unit: "raw size by size kept", format: format.factor,
    ...named("codec_ratio"), name: () => "all objects", empty: "Nothing is stored yet.",
  },
};

// Puts each chart where the page wants it; marking a time in one marks it in all.
export class Charts {
  constructor() {
    this.charts = [];
    const select = (time) => this.charts.forEach((chart) => chart.select(time));
    for (const grid of document.querySelectorAll("[data-charts]")) {
      for (const name of grid.dataset.charts.split(" ")) {
        const chart = new Chart(specs[name], select);
        chart.card.id = `chart-${name}`;
        grid.append(chart.card);
        this.charts.push(chart);
      }
    }
  }

  draw(history, window) {
    for (const chart of this.charts) chart.draw(history, window);
  }
}
