"""Sysctls below /proc/sys/net, written directly (7 us each), and only if they say something else.

/proc/sys/net shows the network namespace of the *thread* that opens the file. Needs CAP_NET_ADMIN (root, for most
files).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from calico_openstack.felix.wanted.host import Sysctl

ROOT = Path("/proc/sys/net")
_LONGEST = 4096


class Sysctls:
    """`operations` counts the writes."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self.operations = 0

    def read(self, path: str) -> str | None:
        """What the file says, without white space at its ends; None if there is no such file."""
        try:
            return self._read(path)
        except OSError:
            return None

    def apply(self, wanted: Iterable[Sysctl]) -> list[str]:
        """Make each file say what it should; why required ones could not be made to. The others are best effort."""
        failures = []
        for sysctl in wanted:
            try:
                if self._read(sysctl.path) == sysctl.value:
                    continue
                (self._root / sysctl.path).write_text(sysctl.value)
                self.operations += 1
            except OSError as error:
                if sysctl.required:
                    failures.append(f"{self._root / sysctl.path}: {error.strerror}")
        return failures

    def _read(self, path: str) -> str:
        """Ten of them per tap are read back again and again; without `pathlib` and text layers that costs a third."""
        file = os.open(f"{self._root}/{path}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(file, _LONGEST).decode(errors="replace").strip()
        finally:
            os.close(file)
