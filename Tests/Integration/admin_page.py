"""Where a daemon's administration endpoint listens."""

from __future__ import annotations

import re

from daemon_process import DaemonProcess

_ADMIN = re.compile(r'\badmin"?[=:]"?([^\s",]+:\d+)')


def admin_address(daemon: DaemonProcess) -> str:
    """HOST:PORT of the administration endpoint, as the daemon's log has it."""
    found = _ADMIN.search(daemon.log)
    assert found is not None, daemon.log
    return found.group(1)
