"""What every page we write shares: its policy lets run, and apply, nothing but what it was made with."""

from __future__ import annotations

import base64
import hashlib


def policy_hash(text: str) -> str:
    """A script or style as Content-Security-Policy names it (CSP level 3, section 2.3.1, hash-source)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
