// Asks the daemon for its numbers every two seconds and hands them to what draws them.

import { ask, token, Unauthorised } from "./api.js";
import { Charts } from "./charts.js";
import { Events } from "./events.js";
import { clock } from "./format.js";
import { drawGlance, drawState } from "./glance.js";
import { History } from "./history.js";
import { drawChecks, Panels } from "./panels.js";

const EVERY_MS = 2000;
const RETRY_MS_MAX = 16_000;
const SLOW_PARTS_EVERY = 5;
const CONFIGURATION_EVERY = 60;
const themes = ["auto", "light", "dark"];
const byId = (id) => document.getElementById(id);

class Page {
  constructor() {
    this.history = new History();
    this.charts = new Charts();
    this.panels = new Panels();
    this.events = new Events({
      onEvent: (event) => { if (event.kind.startsWith("reload")) this.turn = 0; },
      onUnauthorised: () => this.askToken(),
    });
    this.turn = 0;
    this.faults = 0;
    this.hasTried = false;
    this.shownAt = null;
    this.isPaused = false;
    this.timer = null;
    byId("place").textContent = location.host;
    this.wireControls();
    document.documentElement.classList.remove("unwired");
  }

  start() {
    this.events.start();
    this.refresh();
  }

  // One round of questions; the next one follows when it is answered, later after faults.
  async refresh() {
    clearTimeout(this.timer);
    if (this.isAsking) return;
    this.isAsking = true;
    try {
      await this.readNumbers();
      this.faults = 0;
      this.hasTried = false;
      byId("banner").hidden = true;
      this.later(EVERY_MS);
    } catch (fault) {
      if (!(fault instanceof Unauthorised)) this.showFault(fault);
      else if (fault.isStale()) this.later(0);
      else this.askToken();
    } finally {
      this.isAsking = false;
    }
  }

  later(milliseconds) {
    if (!this.isPaused) this.timer = setTimeout(() => this.refresh(), milliseconds);
  }

  async readNumbers() {
    const turn = this.turn;
    this.turn += 1;
    const [report, history] = await Promise.all([
      ask("/stats"), ask(`/history?since=${this.history.newest}`),
    ]);
    if (this.pid !== undefined && this.pid !== report.process.pid) {
      this.pid = report.process.pid;
      this.history.clear();
      this.events.restart();
      this.turn = 0;
      return;
    }
    this.pid = report.process.pid;
    this.history.append(history);
    this.shownAt = report.unix_milliseconds;
    if (turn % SLOW_PARTS_EVERY === 0) await this.readSlowParts();
    if (turn % CONFIGURATION_EVERY === 0) {
      this.panels.drawConfiguration((await ask("/config")).entries);
    }
    this.report = report;
    if (!document.hidden) this.draw();
  }

  async readSlowParts() {
    const [slow, readiness] = await Promise.all([
      ask("/slowlog"), ask("/readyz?verbose", [503]),
    ]);
    this.panels.drawSlow(slow.requests);
    drawChecks(readiness);
  }

  draw() {
    if (!this.report) return;
    drawGlance(this.report, this.history);
    this.charts.draw(this.history, Number(byId("window").value));
    this.panels.drawReport(this.report);
  }

  showFault(fault) {
    this.faults += 1;
    const wait = Math.min(RETRY_MS_MAX, EVERY_MS * 2 ** (this.faults - 1));
    const shown = this.shownAt ? ` Shown is what it said at ${clock(this.shownAt)}.` : "";
    const why = fault instanceof TypeError || fault.name === "TimeoutError"
      ? "The daemon does not answer." : `Something went wrong: ${fault.message}.`;
    byId("banner-text").textContent =
      `Connection lost. ${why}${shown} Trying again in ${wait / 1000} s.`;
    byId("banner").hidden = false;
    drawState("unreachable", "bad", "connection lost");
    this.later(wait);
  }

  // The numbers and the events both may find that a token is needed; it is asked for once.
  askToken() {
    if (byId("token-dialog").open) return;
    token.clear();
    byId("token-fault").textContent = this.hasTried ? "This token opens nothing." : "";
    byId("token").value = "";
    drawState("locked", "busy", "a token is needed");
    byId("token-dialog").showModal();
  }

  wireControls() {
    byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      token.set(byId("token").value.trim());
      this.hasTried = true;
      byId("token-dialog").close();
      this.events.stop();
      this.start();
    });
    byId("token-dialog").addEventListener("cancel", (event) => event.preventDefault());
    byId("retry").addEventListener("click", () => this.refresh());
    byId("window").addEventListener("change", () => this.draw());
    byId("pause").addEventListener("click", () => this.pause());
    byId("theme").addEventListener("click", () => this.changeTheme());
    byId("theme").textContent = `Theme: ${document.documentElement.dataset.theme ?? "auto"}`;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.draw();
    });
  }

  pause() {
    this.isPaused = !this.isPaused;
    byId("pause").setAttribute("aria-pressed", String(this.isPaused));
    byId("pause").textContent = this.isPaused ? "Go on" : "Pause";
    if (this.isPaused) clearTimeout(this.timer);
    else this.refresh();
  }

  changeTheme() {
    const now = document.documentElement.dataset.theme ?? "auto";
    const next = themes[(themes.indexOf(now) + 1) % themes.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("kdn-theme", next);
    } catch {
      // The choice then lasts as long as the page.
    }
    byId("theme").textContent = `Theme: ${next}`;
    this.draw();
  }
}

new Page().start();
