// The numbers at the top of the page.

import * as format from "./format.js";

const MINUTE_MS = 60_000;
const byId = (id) => document.getElementById(id);
const put = (id, text) => {
  byId(id).textContent = text || "\u00a0";
};

const kinds = { ready: "good", recovering: "busy", draining: "busy" };

export function drawState(text, kind, note = "") {
  byId("state").textContent = text;
  byId("state").className = `pill ${kind}`;
  put("state-note", note);
  document.title = `KDN · ${text}`;
}

export function drawGlance(report, history) {
  const fault = report.reload.last_succeeded ? "" : "last reload failed";
  drawState(report.state, fault ? "busy" : kinds[report.state] ?? "busy", fault || "serving");
  if (report.state !== "ready") put("state-note", fault || "see Readiness below");

  const hits = report.tiers.filter((tier, at) =>
    report.tiers.findIndex(({ kind }) => kind === tier.kind) === at)
    .reduce((sum, tier) => sum + tier.hits_total, 0);
  const misses = Object.values(report.pool.misses_total).reduce((sum, value) => sum + value, 0);
  const overall = hits + misses > 0 ? hits / (hits + misses) : null;
  const recent = history.mean("hit_ratio", "all", history.newest - MINUTE_MS);
  put("hit-ratio", format.ratio(recent ?? overall));
  const run = recent === null ? "in this run" : `${format.ratio(overall)} in this run`;
  put("hit-note", overall === null ? "nothing looked up yet" : run);

  const sent = history.last("bytes_per_second", "sent");
  const received = history.last("bytes_per_second", "received");
  put("throughput", format.bytesPerSecond(sent === null ? null : sent + received));
  const [out, into] = [sent, received].map(format.bytesPerSecond);
  put("throughput-note", sent === null ? "measuring" : `out ${out} · in ${into}`);

  const rates = history.lines("requests_per_second").map(([, values]) => values.at(-1) ?? 0);
  put("requests", history.times.length > 0
    ? format.perSecond(rates.reduce((sum, value) => sum + value, 0)) : "–");
  const { open } = report.connections;
  put("requests-note", `on ${format.count(open)} connection${open === 1 ? "" : "s"}`);

  put("objects", format.count(report.pool.objects));
  const onDisk = report.disk ? `, ${format.count(report.disk.objects)} on disk` : "";
  put("objects-note", `${format.bytes(report.pool.bytes)} in RAM${onDisk}`);

  put("uptime", format.duration(report.uptime_seconds));
  put("version", `version ${report.version}`);
}
