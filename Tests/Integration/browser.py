"""A headless Chromium that looks at one page, and what it noticed while it did."""

from __future__ import annotations

import json
import os
import urllib.parse
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys

DRIVER = "/usr/bin/chromedriver"
_FLAGS = ("--headless=new", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage")


class Browser:
    """One window. What it logs and asks for is kept until it is told to forget."""

    def __init__(self) -> None:
        options = webdriver.ChromeOptions()
        for flag in _FLAGS + (("--no-sandbox",) if os.geteuid() == 0 else ()):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self._requests: list[str] = []
        self._messages: list[str] = []

    def close(self) -> None:
        self.driver.quit()

    def show(self, width: int, height: int, scheme: str = "light", motion: str = "reduce") -> None:
        """Makes the window this large, in CSS pixels, with the preferences given."""
        self._command(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        features = [("prefers-color-scheme", scheme), ("prefers-reduced-motion", motion)]
        self._command(
            "Emulation.setEmulatedMedia",
            features=[{"name": name, "value": value} for name, value in features],
        )

    def open(self, url: str) -> None:
        """Loads a page."""
        self.driver.get(url)

    def forget(self) -> None:
        """Leaves the page and all that was noticed of it."""
        self.driver.get("about:blank")
        self.requests()
        self.messages()
        self._requests.clear()
        self._messages.clear()

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function body of JavaScript returns."""
        return self.driver.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        """Text of the first element, empty if there is none."""
        return self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def is_shown(self, selector: str) -> bool:
        """Whether an element is there and visible."""
        return self.run(
            "return document.querySelector(arguments[0])?.checkVisibility() ?? false", selector
        )

    def press(self, *keys: str) -> None:
        """Presses keys one after the other, wherever the focus is."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def tab(self) -> None:
        """Moves the focus on by one, as the Tab key does."""
        webdriver.ActionChains(self.driver, duration=0).send_keys(Keys.TAB).perform()

    def requests(self) -> list[str]:
        """URLs of everything that was asked for, `data:` left out."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._requests.append(message["params"]["request"]["url"])
        return [url for url in self._requests if urllib.parse.urlsplit(url).scheme != "data"]

    def messages(self) -> list[str]:
        """Warnings and errors of the console, breaches of the policy included."""
        self._messages += [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("WARNING", "SEVERE")
        ]
        return self._messages

    def _command(self, name: str, **parameters: Any) -> Any:
        return self.driver.execute_cdp_cmd(name, parameters)
