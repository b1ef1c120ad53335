// Numbers as people read them.

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const binary = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const NONE = "–";

const isKnown = (value) => typeof value === "number" && Number.isFinite(value);

// Three digits that matter, no trailing zeros after a whole number.
function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 100) return grouped.format(Math.round(value));
  if (size >= 10) return String(Number(value.toFixed(1)));
  if (size >= 0.01) return String(Number(value.toFixed(2)));
  return value.toPrecision(1);
}

export function bytes(value) {
  if (!isKnown(value)) return NONE;
  let scaled = value;
  let unit = 0;
  while (Math.abs(scaled) >= 1024 && unit < binary.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(scaled) : short(scaled)} ${binary[unit]}`;
}

export const bytesPerSecond = (value) => (isKnown(value) ? `${bytes(value)}/s` : NONE);

export function count(value) {
  if (!isKnown(value)) return NONE;
  const size = Math.abs(value);
  if (size >= 1e9) return `${short(value / 1e9)} G`;
  if (size >= 1e6) return `${short(value / 1e6)} M`;
  if (size >= 1e5) return `${short(value / 1e3)} k`;
  return Number.isInteger(value) ? grouped.format(value) : short(value);
}

export const perSecond = (value) => (isKnown(value) ? `${count(value)}/s` : NONE);

export function ratio(value) {
  if (!isKnown(value)) return NONE;
  const percent = value * 100;
  if (percent > 99.9 && percent < 100) return "> 99.9 %";
  return `${percent >= 99.95 || percent === 0 ? Math.round(percent) : short(percent)} %`;
}

export const factor = (value) => (isKnown(value) ? `${value.toFixed(2)} ×` : NONE);

export function microseconds(value) {
  if (!isKnown(value)) return NONE;
  if (value < 1000) return `${short(value)} µs`;
  if (value < 1e6) return `${short(value / 1000)} ms`;
  return `${short(value / 1e6)} s`;
}

export function duration(seconds) {
  if (!isKnown(seconds)) return NONE;
  const whole = Math.floor(seconds);
  const days = Math.floor(whole / 86400);
  const hours = Math.floor(whole / 3600) % 24;
  const minutes = Math.floor(whole / 60) % 60;
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  if (minutes > 0) return `${minutes} min ${whole % 60} s`;
  return `${whole} s`;
}

const pad = (value) => String(value).padStart(2, "0");

export function clock(milliseconds) {
  const date = new Date(milliseconds);
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

// The time alone today, else with its day.
export function moment(milliseconds, now = Date.now()) {
  const date = new Date(milliseconds);
  const time = clock(milliseconds);
  if (new Date(now).toDateString() === date.toDateString()) return time;
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${time}`;
}

export const words = (name) => name.replaceAll("_", " ");
