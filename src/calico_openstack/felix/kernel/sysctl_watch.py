"""Who writes to sysctls below /proc/sys/net is noticed at once: inotify(7) on their directories.

The kernel reports writes by any process that sees the same /proc and network namespace; what is written through
another mount of /proc (a container's) is not told, nor what the kernel changes by itself. Best effort: without
instances or watches left (fs.inotify.max_user_*) the next refresh finds what this would have told. Like the files,
the directories belong to the network namespace of the *thread* that names them.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

from calico_openstack.felix.kernel.sysctls import ROOT

_IN_MODIFY, _IN_Q_OVERFLOW = 0x2, 0x4000
_EVENT = struct.Struct("iIII")
_ROOM = 64 << 10
_LIBC = ctypes.CDLL(None, use_errno=True)


class SysctlWatch:
    """Directories are named relative to /proc/sys/net, such as `ipv4/conf/tap0`. OSError if there is no inotify."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._descriptor: int = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise _error("inotify_init1")
        self._directories: dict[int, str] = {}
        self._numbers: dict[str, int] = {}

    def fileno(self) -> int:
        """Readable when something was written."""
        return self._descriptor

    def follow(self, directory: str) -> None:
        """From now on, also if a directory of that name was followed and has been made anew. OSError if it is not
        there, or too many are followed."""
        self.forget(directory)
        number = _LIBC.inotify_add_watch(self._descriptor, os.fsencode(self._root / directory), _IN_MODIFY)
        if number < 0:
            raise _error(str(self._root / directory))
        self._directories[number] = directory
        self._numbers[directory] = number

    def forget(self, directory: str) -> None:
        number = self._numbers.pop(directory, None)
        if number is not None:
            del self._directories[number]
            # EINVAL if the kernel has forgotten it before.
            _LIBC.inotify_rm_watch(self._descriptor, number)

    def drain(self) -> tuple[set[str], bool]:
        """Paths written to since the last call, by us too; and whether there were more than the kernel kept."""
        written: set[str] = set()
        lost = False
        while True:
            try:
                events = os.read(self._descriptor, _ROOM)
            except BlockingIOError:
                return written, lost
            offset = 0
            while offset < len(events):
                number, mask, _, length = _EVENT.unpack_from(events, offset)
                offset += _EVENT.size
                name = os.fsdecode(events[offset : offset + length].rstrip(b"\0"))
                offset += length
                lost = lost or bool(mask & _IN_Q_OVERFLOW)
                if number in self._directories and name:
                    written.add(f"{self._directories[number]}/{name}")

    def close(self) -> None:
        os.close(self._descriptor)


def _error(what: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{what}: {os.strerror(code)}")
