// The stream of events, read as long as the page is open.

import { listen, Unauthorised } from "./api.js";
import { moment, words } from "./format.js";

const EVENTS_SHOWN = 200;
const WAIT_MS = 3000;
const WAIT_MS_MAX = 30_000;
const bad = new Set(["reload_failed", "disk_fault"]);

const element = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

export class Events {
  // `onEvent` hears each event, `onUnauthorised` that a token is needed.
  constructor({ onEvent, onUnauthorised }) {
    this.list = document.getElementById("log");
    this.onEvent = onEvent;
    this.onUnauthorised = onUnauthorised;
    this.serial = 0;
    this.wait = WAIT_MS;
  }

  // Forgets what a run that has ended said.
  restart() {
    this.serial = 0;
    this.list.replaceChildren();
    this.stop();
    this.start();
  }

  start() {
    this.abort = new AbortController();
    this.follow(this.abort.signal);
  }

  stop() {
    this.abort?.abort();
  }

  async follow(signal) {
    while (!signal.aborted) {
      try {
        await listen(this.serial, (event) => this.show(event), signal);
      } catch (fault) {
        if (signal.aborted) return;
        if (fault instanceof Unauthorised && !fault.isStale()) {
          this.onUnauthorised();
          return;
        }
      }
      await new Promise((done) => { setTimeout(done, this.wait); });
      this.wait = Math.min(WAIT_MS_MAX, this.wait * 2);
    }
  }

  show(event) {
    this.wait = WAIT_MS;
    if (event.serial <= this.serial) return;
    this.serial = event.serial;
    document.getElementById("log-empty").hidden = true;
    const row = element("li");
    const time = element("time", "", moment(event.unix_milliseconds));
    time.dateTime = new Date(event.unix_milliseconds).toISOString();
    row.append(
      time, element("b", bad.has(event.kind) ? "bad-text" : "", words(event.kind)),
      element("span", "", event.text),
    );
    if (event.administrator) row.append(element("i", "who", `by ${event.administrator}`));
    this.list.prepend(row);
    while (this.list.children.length > EVENTS_SHOWN) this.list.lastElementChild.remove();
    this.onEvent(event);
  }
}
