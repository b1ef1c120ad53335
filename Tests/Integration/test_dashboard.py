"""The dashboard in a real browser, drawn from a real daemon."""

from __future__ import annotations

import contextlib
import hashlib
import urllib.parse
from collections.abc import Callable, Iterator

import pytest
from admin_page import admin_address
from browser import Browser
from conftest import SMALL
from daemon_process import DaemonProcess, running_daemon
from kdn import AttentionGroup, Client, Document, Edit, Layout, chunk_hashes, document_root
from selenium.webdriver.common.keys import Keys
from traffic import traffic

Eventually = Callable[[Callable[[], bool]], None]
ADMIN = ("--admin", "127.0.0.1:0")
TOKEN = "correct horse battery staple"
CHARTS_BUSY = ("throughput", "requests", "connections", "hits", "misses", "fill", "get", "put")
TABS_MAX = 120
# Non-transparent pixels of all canvases of a chart.
DRAWN = """
const canvases = document.querySelectorAll(`#chart-${arguments[0]} canvas`);
return [...canvases].reduce((sum, canvas) => {
  if (canvas.width === 0 || canvas.height === 0) return sum;
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let drawn = 0;
  for (let at = 3; at < data.length; at += 4) if (data[at] > 0) drawn += 1;
  return sum + drawn;
}, 0);
"""
# Texts whose contrast with what is behind them is under 4.5.
FAINT = """
const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
const light = (channel) => {
  const share = channel / 255;
  return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
};
const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
const behind = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const faint = [];
for (const node of document.body.querySelectorAll("*")) {
  const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  if (!own || !node.checkVisibility() || node.closest("script, noscript")) continue;
  const [front, back] = [parse(getComputedStyle(node).color), behind(node)].map(luminance);
  const contrast = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
  if (contrast < 4.5) faint.push(`${node.className} ${node.textContent}: ${contrast}`);
}
return faint;
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all tests; each opens its own page."""
    with contextlib.closing(Browser()) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    chromium.show(1280, 900)
    chromium.forget()
    return chromium


@pytest.fixture
def busy(start: Callable[..., DaemonProcess]) -> Iterator[str]:
    """Address of the dashboard of a daemon under way, with two tenants' worth of clients."""
    daemon = start(*ADMIN, "--set", "namespace_limits=default ram=96MiB connections=50")
    with traffic(daemon.address):
        yield f"http://{admin_address(daemon)}/"


@pytest.fixture
def page(browser: Browser, busy: str, eventually: Eventually) -> Browser:
    """The dashboard of a busy daemon, once its charts have something to show."""
    browser.open(busy)
    eventually(lambda: browser.text("#chart-hits tbody") != "")
    browser.run("localStorage.clear()")
    return browser


def test_numbers_appear_and_change(page: Browser, eventually: Eventually) -> None:
    assert page.text("#state") == "ready"
    assert "version 0." in page.text("#version")
    eventually(lambda: page.text("#hit-ratio").endswith("%"))
    eventually(lambda: page.text("#requests").endswith("/s"))
    first = {name: page.text(name) for name in ("#throughput", "#uptime", "#requests")}
    assert "/s" in first["#throughput"] and first["#throughput"] != "0 B/s"
    eventually(lambda: all(page.text(name) != before for name, before in first.items()))


def test_charts_have_drawn_and_say_the_same_in_words(page: Browser, eventually: Eventually) -> None:
    for name in CHARTS_BUSY:
        eventually(lambda name=name: page.run(DRAWN, name) > 300)
        label = f"#chart-{name} .plot"
        told = page.run("return document.querySelector(arguments[0]).ariaLabel", label)
        assert "mean" in told and "–" not in told.split(", mean")[0], told
        assert page.text(f"#chart-{name} tbody th") != ""


def test_what_never_happened_is_said_in_words(page: Browser) -> None:
    assert page.is_shown("#chart-disk .empty")
    assert page.text("#disk") == "This daemon keeps nothing on disk."
    assert "never stored" in page.text("#causes")
    assert "Nobody has stored this key" in page.text("#causes")


def test_panels_hold_what_the_daemon_says(page: Browser, eventually: Eventually) -> None:
    eventually(lambda: "default" in page.text("#namespaces tbody"))
    assert "of 96 MiB" in page.text("#namespaces tbody")
    assert page.is_shown("#tenant-bars .limit")
    assert page.run("return document.querySelectorAll('#checks .good').length") >= 4
    eventually(lambda: "started" in page.text("#log"))
    eventually(lambda: "max_connections" in page.text("#config"))
    page.run("document.getElementById('find').focus()")
    page.press("slow_request")
    keys = page.text("#config tbody")
    assert "slow_request_ms" in keys and "max_connections" not in keys


def test_documents_edits_blends_and_jobs_are_counted(
    start: Callable[..., DaemonProcess], browser: Browser, eventually: Eventually
) -> None:
    daemon = start(*ADMIN)
    browser.open(f"http://{admin_address(daemon)}/")
    eventually(lambda: "Known by name 0" in words(browser, "#documents"))
    layout = Layout("bf16", (AttentionGroup((0,), 1, 8),))
    hashes = tuple(chunk_hashes(document_root("model", b""), [1, 2, 3], 16, tail=True))
    with Client(daemon.address) as client:
        client.register_layout(layout)
        client.publish_document(Document("note", layout.id, 3, 16, hashes))
        client.add_edit("note", Edit.drop([(0, 1)]))
        client.add_edit("note", Edit.emphasise([(1, 3)]))
        client.submit_job("learn", b"{}")
        client.cancel_job(client.submit_job("learn", b"{}"))
    eventually(lambda: "Known by name 1" in words(browser, "#documents"))
    assert "Edits of their KV 2" in words(browser, "#documents")
    assert "Waiting 1" in words(browser, "#jobs") and "Cancelled 1" in words(browser, "#jobs")
    assert "Assembled 0" in words(browser, "#blends")


def words(browser: Browser, selector: str) -> str:
    script = "return document.querySelector(arguments[0]).innerText"
    return " ".join(browser.run(script, selector).split())


def test_nothing_is_asked_of_anybody_else_and_no_rule_is_broken(page: Browser, busy: str) -> None:
    page.run("document.getElementById('theme').click()")
    hosts = {urllib.parse.urlsplit(url).netloc for url in page.requests()}
    assert hosts == {urllib.parse.urlsplit(busy).netloc}
    assert page.messages() == []


def test_the_policy_is_enforced(page: Browser) -> None:
    page.run("""
      window.wasRun = false;
      const script = document.createElement("script");
      script.textContent = "window.wasRun = true";
      document.body.append(script);
    """)
    assert page.run("return window.wasRun") is False
    assert any("Content Security Policy" in message for message in page.messages())


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: Browser) -> None:
    seen: list[str] = []
    for _ in range(TABS_MAX):
        page.tab()
        name, outline = page.run("""
          const at = document.activeElement;
          const style = getComputedStyle(at);
          return [at.id || at.className || at.getAttribute("href") || at.tagName,
            style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1];
        """)
        if name in ("BODY", "skip") and seen:
            break
        seen.append(name)
        assert outline, f"{name} does not show that it has the focus"
    assert seen[0] == "skip"
    wanted = ["window", "pause", "theme", "plot", "sort", "log", "find"]
    assert [name for name in dict.fromkeys(seen) if name in wanted] == wanted
    assert seen.count("plot") == page.run("return document.querySelectorAll('.plot').length")


def test_arrow_keys_move_through_time(page: Browser, eventually: Eventually) -> None:
    # Time is marked in one chart and shown in all.
    heads = "#chart-throughput thead th:nth-child(2)"
    page.run("document.querySelector('#chart-requests .plot').focus()")
    assert page.text(heads) == "now"

    def later() -> bool:
        page.press(Keys.HOME)
        first = page.text(heads)
        assert first.count(":") == 2
        page.press(Keys.ARROW_RIGHT)
        return page.text(heads) > first

    eventually(later)
    page.press(Keys.ESCAPE)
    assert page.text(heads) == "now"


def test_a_phone_shows_it_without_scrolling_sideways(page: Browser, eventually: Eventually) -> None:
    page.show(360, 740)
    width = "return document.documentElement.scrollWidth"
    eventually(lambda: page.run("return innerWidth") == 360)
    assert page.run(width) == 360
    too_wide = page.run("""
      return [...document.querySelectorAll("main > *, .card")]
        .filter((node) => node.getBoundingClientRect().right > 360.5).length;
    """)
    assert too_wide == 0
    eventually(lambda: page.run(DRAWN, "throughput") > 100)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_in_both_themes(page: Browser, scheme: str) -> None:
    page.show(1280, 900, scheme)
    ground = page.run("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(244, 245, 248)", "dark": "rgb(15, 18, 21)"}[scheme]
    assert page.run(FAINT) == []


def test_the_theme_chosen_is_kept(page: Browser, busy: str) -> None:
    page.run("document.getElementById('theme').click()")
    page.run("document.getElementById('theme').click()")
    assert page.text("#theme") == "Theme: dark"
    page.open(busy)
    assert page.run("return document.documentElement.dataset.theme") == "dark"
    page.run("localStorage.clear()")


def test_nothing_moves_once_it_is_there(page: Browser) -> None:
    shift = page.run("""
      return new Promise((done) => {
        new PerformanceObserver((list) => done(
          list.getEntries().reduce((sum, entry) => sum + entry.value, 0),
        )).observe({ type: "layout-shift", buffered: true });
        setTimeout(() => done(0), 2500);
      });
    """)
    assert shift < 0.1


def test_a_daemon_that_goes_away_is_told_and_its_return_noticed(
    browser: Browser, eventually: Eventually
) -> None:
    with running_daemon(*SMALL, *ADMIN) as daemon:
        address = admin_address(daemon)
        browser.open(f"http://{address}/")
        eventually(lambda: browser.text("#state") == "ready")
        assert not browser.is_shown("#banner")
    eventually(lambda: browser.is_shown("#banner"))
    assert "Connection lost" in browser.text("#banner")
    assert browser.text("#state") == "unreachable"
    assert browser.text("#objects") == "0"
    with running_daemon(*SMALL, "--admin", address):
        browser.run("document.getElementById('retry').click()")
        eventually(lambda: browser.text("#state") == "ready" and not browser.is_shown("#banner"))


def test_where_a_token_is_needed_the_page_asks_for_it(
    start: Callable[..., DaemonProcess], browser: Browser, eventually: Eventually
) -> None:
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    daemon = start("--admin", "0.0.0.0:0", "--set", f"admin_tokens=ops:{digest}")
    port = admin_address(daemon).rsplit(":", 1)[1]
    browser.open(f"http://127.0.0.1:{port}/")
    eventually(lambda: browser.is_shown("#token-dialog"))
    assert browser.text("#state") == "locked"
    browser.run("document.getElementById('token').focus()")
    browser.press("wrong", Keys.ENTER)
    eventually(lambda: "opens nothing" in browser.text("#token-fault"))
    browser.run("document.getElementById('token').focus()")
    browser.press(TOKEN, Keys.ENTER)
    eventually(lambda: browser.text("#state") == "ready")
    assert not browser.is_shown("#token-dialog")
    eventually(lambda: "started" in browser.text("#log"))
    assert browser.run("return JSON.stringify({...localStorage})") == "{}"
    assert not any("correct" in url for url in browser.requests())
