"""Ready classes for standards and laws: one policy file each, with level, default mask and the clause it comes from.

A policy takes one of them as its first file (`policy: [standard:jrt-0171, policy.yaml]`); the names of the classes are those that
discovery finds, so its proposals fit any of them.
"""

from __future__ import annotations

from pathlib import Path

STANDARDS = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}
"""The files by name: jrt-0171, jrt-0197, pipl, pci-dss, gdpr."""
DEFAULT = "jrt-0171"
PREFIX = "standard:"
"""How a configuration names one of them among its policy files."""


def called(path: Path) -> str:
    """What messages call a policy file: standards by their names."""
    return PREFIX + path.stem if path in STANDARDS.values() else str(path)
