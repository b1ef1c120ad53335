// Bars of how full something is, with a mark where a limit is.

import { colour } from "./colours.js";
import { bytes, count, ratio } from "./format.js";

const NEARLY_FULL = 0.9;

const element = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};
const percent = (share) => `${Math.min(100, Math.max(0, share * 100))}%`;

// A bar alone: `share` of its length is filled; `mark` is a share too.
export function bar({ share, mark, label, place = 0, warns = false }) {
  const made = element("div", "meter");
  made.setAttribute("role", "meter");
  made.setAttribute("aria-label", label);
  made.setAttribute("aria-valuemin", "0");
  made.setAttribute("aria-valuemax", "100");
  made.setAttribute("aria-valuenow", String(Math.round(share * 100)));
  made.setAttribute("aria-valuetext", ratio(share));
  const fill = element("i", warns ? "fill warns" : "fill");
  fill.style.width = percent(share);
  if (!warns) fill.style.background = colour(place);
  made.append(fill);
  if (mark !== undefined) {
    const line = element("i", "limit");
    line.style.left = percent(mark);
    made.append(line);
  }
  return made;
}

function row(name, text, made) {
  const whole = element("div", "bar-row");
  const head = element("p", "bar-head");
  head.append(element("span", "bar-name", name), element("span", "", text));
  whole.append(head, made);
  return whole;
}

// Each tier against its capacity.
export function drawTiers(tiers) {
  const rows = tiers.map((tier, index) => {
    const name = tier.kind === "ram" ? "RAM" : tier.place;
    const share = tier.capacity_bytes > 0 ? tier.used_bytes / tier.capacity_bytes : 0;
    const state = tier.state === "serving" ? "" : ` · ${tier.state}`;
    const text = `${bytes(tier.used_bytes)} of ${bytes(tier.capacity_bytes)} · ${ratio(share)} · `
      + `${count(tier.objects)} objects${state}`;
    const warns = tier.state === "failed";
    const place = Math.min(index, 1);
    return row(name, text, bar({ share, label: `${name}, used`, place, warns }));
  });
  document.getElementById("tiers").replaceChildren(...rows);
}

// Each tenant's RAM on one scale, with its quota as a mark.
export function drawTenantBars(namespaces, most) {
  const quota = (tenant) => tenant.limits.ram_bytes_max ?? 0;
  const scale = Math.max(1, ...namespaces.flatMap((tenant) => [tenant.ram_bytes, quota(tenant)]));
  const ranked = [...namespaces].sort((left, right) => right.ram_bytes - left.ram_bytes);
  const rows = ranked.slice(0, most).map((tenant) => {
    const limit = quota(tenant);
    // A cache may well be full; what counts is whether anything was refused for it.
    const warns = tenant.quota_refusals_total > 0 && tenant.ram_bytes >= limit * NEARLY_FULL;
    const share = `of ${bytes(limit)} · ${ratio(tenant.ram_bytes / limit)}`;
    const text = `${bytes(tenant.ram_bytes)} ${limit > 0 ? share : "· no quota"}`
      + (warns ? " · stores were refused" : "");
    return row(tenant.name, text, bar({
      share: tenant.ram_bytes / scale, mark: limit > 0 ? limit / scale : undefined,
      label: `${tenant.name}, RAM used`, warns,
    }));
  });
  if (rows.length === 0) rows.push(element("p", "empty", "No tenant has been seen yet."));
  if (ranked.length > most) {
    rows.push(element("p", "hint", `${ranked.length - most} more in the table below.`));
  }
  document.getElementById("tenant-bars").replaceChildren(...rows);
}
