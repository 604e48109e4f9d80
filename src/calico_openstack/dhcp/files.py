"""Files that another program reads: replaced as a whole, written only if they differ, readable for everybody.

dnsmasq drops its rights after the start, and a hosts file that it may not read is an empty one to it. No fsync: after a
power cut everything is rendered anew.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import TextIO

from calico_openstack.daemon.settings import SettingsError


def write_if_different(path: Path, text: str, mode: int = 0o644) -> bool:
    """Put `text` at `path` in one step; False if it was there already. OSError as the system says."""
    data = text.encode()
    try:
        if path.read_bytes() == data:
            return False
    except OSError:
        pass
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # whatever the umask is
        file.write(data)
    os.replace(temporary, path)
    return True


def open_directory(path: Path) -> None:
    """Make a directory that everybody may enter."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o755)


def closed_ancestor(path: Path) -> Path | None:
    """The first directory on the way to `path` that others may not enter, or None if the way is open."""
    for directory in [*reversed(path.resolve().parents), path.resolve()]:
        if directory.is_dir() and not directory.stat().st_mode & stat.S_IXOTH:
            return directory
    return None


def locked(path: Path) -> TextIO:
    """The file, locked for us as long as it is open; a lock goes with its process. SettingsError if another has it."""
    file = open(path, "w")  # noqa: SIM115 - it stays open as long as the agent runs
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise SettingsError(
            f"{path} is locked: another DHCP agent runs with this dhcp_state_dir; end it first"
        ) from error
    return file
