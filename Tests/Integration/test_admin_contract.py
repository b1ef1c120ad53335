"""What the HTTP endpoint answers to generated requests, good and bad, against its own document."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from admin_client import TOKEN, AdminClient, start_admin
from daemon_process import ROOT, DaemonProcess, running_daemon
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

SMALL = ("--ram", "128MiB", "--set", "slab=16MiB", "--set", "prefault=off")
# The document without the stream that never ends and the order that ends the daemon.
described = schemathesis.openapi.from_path(
    ROOT / "Sources/KDNAdmin/Resources/openapi.json"
).exclude(path=["/events", "/drain"])
CHECKS = [
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdminClient]:
    """One daemon for all generated requests."""
    with contextlib.ExitStack() as stack:

        def start(*flags: str, **more: Any) -> DaemonProcess:
            return stack.enter_context(running_daemon(*SMALL, *flags, **more))

        yield start_admin(start, tmp_path_factory.mktemp("admin"))


@described.parametrize()
@settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_generated_requests_are_answered_as_described(
    case: schemathesis.Case, admin: AdminClient
) -> None:
    answer = case.call(base_url=admin.url, headers={"Authorization": f"Bearer {TOKEN}"})
    if answer.status_code != 503:
        case.validate_response(answer, checks=[not_a_server_error])
    case.validate_response(answer, checks=CHECKS)
    assert admin.ask("GET", "/healthz", token=None).status_code == 200
