"""What every page we write shares: templates that escape, and a policy that lets run and apply nothing but its own.

Reads the templates of a package; returns an environment to render them with, and hashes for a page's
Content-Security-Policy. Knows no page.
"""

from __future__ import annotations

import base64
import hashlib

import jinja2


def page_environment(package: str, folder: str = "templates") -> jinja2.Environment:
    """Templates of a package that escape what they are given and refuse a name that they are not given."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def policy_hash(text: str) -> str:
    """A script or style as Content-Security-Policy names it (CSP level 3, section 2.3.1, hash-source)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
