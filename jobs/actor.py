"""Who asks, for the audit trail."""

from __future__ import annotations

import getpass
import socket


def actor() -> str:
    """User and host; in a pod the user may have no name."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
