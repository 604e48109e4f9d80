"""Sysctls below /proc/sys/net, written directly (7 us each), and only if they say something else.

/proc/sys/net shows the network namespace of the *thread* that opens the file. Needs CAP_NET_ADMIN (root, for most
files).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from calico_openstack.felix.wanted.host import Sysctl

ROOT = Path("/proc/sys/net")


class Sysctls:
    """`operations` counts the writes."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self.operations = 0

    def read(self, path: str) -> str | None:
        """What the file says, without white space at its ends; None if there is no such file."""
        try:
            return (self._root / path).read_text().strip()
        except OSError:
            return None

    def apply(self, wanted: Iterable[Sysctl]) -> list[str]:
        """Make each file say what it should; why required ones could not be made to. The others are best effort."""
        failures = []
        for sysctl in wanted:
            file = self._root / sysctl.path
            try:
                if file.read_text().strip() == sysctl.value:
                    continue
                file.write_text(sysctl.value)
                self.operations += 1
            except OSError as error:
                if sysctl.required:
                    failures.append(f"{file}: {error.strerror}")
        return failures
