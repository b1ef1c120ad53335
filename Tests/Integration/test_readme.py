"""What README.md says is true."""

from __future__ import annotations

import pathlib
import re

from daemon_process import ROOT

README = (ROOT / "README.md").read_text()


def test_the_python_example_runs(daemon):
    example = re.search(r"<!-- example: .*?-->\n```python\n(.*?)```", README, re.DOTALL)
    assert example is not None
    code = example.group(1)
    assert "127.0.0.1:9440" in code
    exec(compile(code.replace("127.0.0.1:9440", daemon.address), "README.md", "exec"), {})


def test_every_file_and_script_that_it_names_is_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    paths = re.findall(r"`((?:Sources|Tests|Scripts|Config)/?[\w./]*)`", README)
    assert links and paths
    for path in links + paths:
        assert pathlib.Path(ROOT, path).exists(), path
    scripts = re.search(r"\| `Scripts` \| (.*) \|", README)
    assert scripts is not None
    for name in re.findall(r"`(\w+)`", scripts.group(1)):
        assert pathlib.Path(ROOT, "Scripts", name).exists(), name


def test_the_defaults_that_it_names_are_those_of_the_configuration():
    configuration = (ROOT / "Config" / "kdnd.yaml").read_text()
    assert 'tcp: ["127.0.0.1:9440"]' in configuration and "ram: 1GiB" in configuration
