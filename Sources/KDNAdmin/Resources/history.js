// The daemon's history, kept in columns as it came and continued with each answer.

const SAMPLES_MAX = 900;

export class History {
  constructor() {
    this.clear();
  }

  clear() {
    this.times = [];
    this.columns = new Map();
  }

  get newest() {
    return this.times.length > 0 ? this.times[this.times.length - 1] : 0;
  }

  // Adds an answer of /history?since=newest.
  append(answer) {
    const added = answer.unix_milliseconds;
    if (added.length === 0) return;
    const before = this.times.length;
    for (const { name, label, values } of answer.columns) {
      if (!this.columns.has(name)) this.columns.set(name, new Map());
      const labels = this.columns.get(name);
      if (!labels.has(label)) labels.set(label, new Array(before).fill(null));
      labels.get(label).push(...values);
    }
    this.times.push(...added);
    const surplus = Math.max(0, this.times.length - SAMPLES_MAX);
    this.times.splice(0, surplus);
    for (const labels of this.columns.values()) {
      for (const values of labels.values()) {
        while (values.length < before + added.length) values.push(null);
        values.splice(0, surplus);
      }
    }
  }

  // [label, values] of everything under a name, in the order given, then by name.
  lines(name, order = []) {
    const place = (label) => (order.includes(label) ? order.indexOf(label) : order.length);
    return [...(this.columns.get(name) ?? [])].sort(
      ([left], [right]) => place(left) - place(right) || left.localeCompare(right),
    );
  }

  // The mean of what is known since a time; null if nothing is.
  mean(name, label, since) {
    const values = this.columns.get(name)?.get(label) ?? [];
    const known = values.filter((value, at) => value !== null && this.times[at] > since);
    return known.length > 0 ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  }

  last(name, label) {
    return this.columns.get(name)?.get(label)?.at(-1) ?? null;
  }
}
