// Tables and lists of the present: tenants, slow requests, forms, disks, checks, configuration.

import { bar, drawTenantBars, drawTiers } from "./bars.js";
import { drawCauses } from "./causes.js";
import { facts } from "./facts.js";
import * as format from "./format.js";
import { drawKnowledge } from "./knowledge.js";
import { Table } from "./table.js";

const TENANT_BARS_MAX = 12;
const byId = (id) => document.getElementById(id);
const total = (counts) => Object.values(counts).reduce((sum, value) => sum + value, 0);

const element = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

const used = (bytes, limit) =>
  limit == null ? format.bytes(bytes) : `${format.bytes(bytes)} of ${format.bytes(limit)}`;

function hitRatio(tenant) {
  const hits = tenant.ram_hits_total + tenant.disk_hits_total;
  const lookups = hits + total(tenant.misses_total);
  return lookups > 0 ? hits / lookups : null;
}

const number = (title, value, show = format.count) => ({
  title, value, numeric: true, text: (row) => show(value(row)),
});

const tenantColumns = [
  { title: "Namespace", value: (tenant) => tenant.name },
  {
    ...number("RAM", (tenant) => tenant.ram_bytes),
    text: (tenant) => used(tenant.ram_bytes, tenant.limits.ram_bytes_max),
  },
  {
    ...number("Disk", (tenant) => tenant.disk_bytes),
    text: (tenant) => used(tenant.disk_bytes, tenant.limits.disk_bytes_max),
  },
  {
    ...number("Pinned", (tenant) => tenant.pinned_bytes),
    text: (tenant) => used(tenant.pinned_bytes, tenant.limits.pinned_bytes_max),
  },
  number("Objects", (tenant) => tenant.ram_objects),
  {
    ...number("Connections", (tenant) => tenant.connections),
    text: ({ connections, limits }) => (limits.connections_max == null
      ? format.count(connections) : `${connections} of ${limits.connections_max}`),
  },
  number("Hit ratio", hitRatio, format.ratio),
  number("Requests", (tenant) => tenant.requests_total),
  number("Sent", (tenant) => tenant.sent_bytes_total, format.bytes),
  number("Received", (tenant) => tenant.received_bytes_total, format.bytes),
  number("Evicted", (tenant) => tenant.evictions_total),
  number("Refused", (tenant) => tenant.quota_refusals_total + tenant.rate_refusals_total),
];

const slowColumns = [
  { title: "Operation", value: (row) => row.operation },
  {
    title: "Arrived", numeric: true, value: (row) => row.unix_milliseconds,
    text: (row) => format.moment(row.unix_milliseconds),
  },
  number("Took", (row) => row.total_microseconds, format.microseconds),
  number("Waiting", (row) => row.wait_microseconds, format.microseconds),
  number("Disk", (row) => row.disk_microseconds, format.microseconds),
  number("Items", (row) => row.items),
  number("Bytes", (row) => row.bytes, format.bytes),
  { title: "Namespace", value: (row) => row.namespace },
  { title: "Status", value: (row) => row.status, text: (row) => format.words(row.status) },
  number("Connection", (row) => row.connection, String),
];

const codecColumns = [
  { title: "Form", value: (codec) => codec.name },
  number("Objects", (codec) => codec.objects),
  number("Kept", (codec) => codec.bytes, format.bytes),
  number("Raw", (codec) => codec.raw_bytes, format.bytes),
  number("Ratio", ({ bytes, raw_bytes: raw }) => (bytes > 0 ? raw / bytes : null), format.factor),
];

const sources = { flag: "flag", environment: "environment", file: "file", default: "default" };
const configColumns = [
  { title: "Key", value: (entry) => entry.key },
  {
    title: "Value", wide: true, value: (entry) => entry.values.join(", "),
    text: (entry) => entry.values.join(", ") || "–",
  },
  { title: "Form", value: (entry) => entry.unit },
  { title: "From", value: (entry) => sources[entry.source] ?? entry.source },
  { title: "Reload", value: (entry) => (entry.is_reloadable ? "applies" : "needs a restart") },
  { title: "What it does", wide: true, value: (entry) => entry.help },
];

export class Panels {
  constructor() {
    this.namespaces = new Table(byId("namespaces"), {
      name: "Namespaces", columns: tenantColumns, sorted: 1, empty: "No tenant has been seen yet.",
    });
    this.slow = new Table(byId("slow"), {
      name: "Slowest requests", columns: slowColumns, sorted: 1,
      empty: "No request has been slow (slow_request_ms says what that is).", most: 50,
    });
    this.codecs = new Table(byId("codecs"), {
      name: "Forms in RAM", columns: codecColumns, sorted: 2, empty: "Nothing is stored yet.",
    });
    this.config = new Table(byId("config"), {
      name: "Configuration", columns: configColumns, sorted: 0, descending: false,
      empty: "No key or value has this in it.",
    });
    this.entries = [];
    byId("find").addEventListener("input", () => this.search());
  }

  drawReport(report) {
    drawTiers(report.tiers);
    drawTenantBars(report.namespaces, TENANT_BARS_MAX);
    drawCauses(report.pool.misses_total);
    this.namespaces.show(report.namespaces);
    this.codecs.show(report.codecs.filter((codec) => codec.objects > 0));
    drawDisk(report.disk);
    drawKnowledge(report);
  }

  drawSlow(requests) {
    this.slow.show(requests);
  }

  drawConfiguration(entries) {
    this.entries = entries;
    this.search();
  }

  search() {
    const wanted = byId("find").value.trim().toLowerCase();
    this.config.show(this.entries.filter((entry) =>
      [entry.key, ...entry.values, entry.help]
        .some((text) => text.toLowerCase().includes(wanted))));
  }
}

export function drawChecks(readiness) {
  byId("checks").replaceChildren(...readiness.checks.map((check) => {
    const row = element("li");
    row.append(
      element("span", check.is_ok ? "pill good" : "pill bad", check.is_ok ? "ok" : "failing"),
      element("b", "", check.name), element("span", "detail", check.detail),
    );
    return row;
  }));
}

function drawDirectory(directory) {
  const made = element("div", "directory");
  const head = element("p", "bar-head");
  const name = element("span", "bar-name", directory.path);
  const good = directory.state === "serving";
  const kind = good ? "good" : directory.state === "failed" ? "bad" : "busy";
  head.append(name, element("span", `pill ${kind}`, directory.state));
  const share = directory.capacity_bytes > 0
    ? directory.used_bytes / directory.capacity_bytes : 0;
  const errors = [
    ["read", directory.read_errors_total], ["write", directory.write_errors_total],
    ["sync", directory.sync_errors_total],
  ].map(([kind, count]) => `${format.count(count)} ${kind}`).join(", ");
  made.append(head, bar({ share, place: 1, label: `${directory.path}, used` }), facts([
    ["Used", used(directory.used_bytes, directory.capacity_bytes)],
    ["Objects", format.count(directory.objects)],
    ["Errors", errors],
  ]));
  return made;
}

function drawDisk(disk) {
  if (!disk) {
    byId("disk").replaceChildren(element("p", "empty", "This daemon keeps nothing on disk."));
    return;
  }
  const { recovery, write_behind: behind } = disk;
  const waiting = `${format.bytes(behind.waiting_bytes)} in ${format.count(behind.waiting)}`;
  const took = format.microseconds(recovery.milliseconds * 1000);
  byId("disk").replaceChildren(...disk.directories.map(drawDirectory), facts([
    ["Engine", disk.engine],
    ["Waiting to be written", waiting],
    ["Not written for lack of room", format.count(behind.refused_total)],
    ["Corrupt and dropped", format.count(disk.corrupt_total)],
    ["Recovered at the start", `${format.count(recovery.records)} records in ${took}`],
    ["Dropped at the start", format.count(recovery.dropped)],
    ["Segments reclaimed", format.count(disk.reclaimed_segments_total)],
  ]));
}
