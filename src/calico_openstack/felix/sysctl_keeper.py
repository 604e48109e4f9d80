"""The sysctls of the host and of the taps: set, read back, and put right when others change them.

The host's own are looked at in each step, those of a tap when there is reason to look at the tap: among them that
somebody wrote another value (`kernel.sysctl_watch`; for some files the kernel tells it too, see `disturbances`).
Lives in the apply thread.
"""

from __future__ import annotations

from collections.abc import Iterable

from calico_openstack.daemon.logs import get_logger
from calico_openstack.felix.kernel.sysctl_watch import SysctlWatch
from calico_openstack.felix.kernel.sysctls import Sysctls
from calico_openstack.felix.taps import Taps
from calico_openstack.felix.wanted.host import HostRules, global_sysctls

log = get_logger("felix.sysctls")

_HOST = ("ipv4", "ipv6/conf/all")


class SysctlKeeper:
    """`unset`: what of the host's own could not be set, by path, with the reason."""

    def __init__(self, sysctls: Sysctls, watch: SysctlWatch | None, taps: Taps) -> None:
        self._sysctls = sysctls
        self._watch = watch
        self._taps = taps
        self._followed: dict[str, int] = {}
        self._all_followed = True
        self.unset: dict[str, str] = {}
        for directory in _HOST:
            self._follow(directory)

    @property
    def operations(self) -> int:
        return self._sysctls.operations

    def filenos(self) -> tuple[int, ...]:
        """Readable when somebody wrote."""
        return (self._watch.fileno(),) if self._watch is not None else ()

    def disturbed(self) -> set[str]:
        """Taps of which a file may say something else than it should. Our own writes are no news."""
        if self._watch is None:
            return set()
        written, lost = self._watch.drain()
        if lost:
            return set(self._taps.programmed)
        return {name for path in written if (name := self._differs(path)) is not None}

    def apply(self, rules: HostRules, taps: Iterable[str]) -> dict[str, str]:
        """Set the host's, and those of these taps if they are programmed; why that failed, by tap."""
        known, found = self.unset, self._sysctls.apply(global_sysctls(rules.ipv6, rules.forwarding))
        self.unset = {reason.partition(": ")[0]: reason for reason in found}
        for path, reason in self.unset.items():
            if path not in known:
                log.warning("sysctl.failed", reason=reason)
        failures = {}
        for name in taps:
            self._keep_up(name)
            if name in self._taps.programmed:
                failed = self._sysctls.apply(self._taps.programmed[name].wants.sysctls)
                if failed:
                    failures[name] = "; ".join(failed)
        return failures

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()

    def _differs(self, path: str) -> str | None:
        name = path.split("/")[2] if path.count("/") == 3 else None
        programmed = self._taps.programmed.get(name) if name is not None else None
        for sysctl in programmed.wants.sysctls if programmed is not None else ():
            if sysctl.path == path and self._sysctls.read(path) != sysctl.value:
                return name
        return None

    def _keep_up(self, name: str) -> None:
        """Follow the files of a tap as long as it is programmed; before they are read, so that nothing is missed."""
        ifindex = self._taps.programmed[name].ifindex if name in self._taps.programmed else None
        if self._watch is None or self._followed.get(name) == ifindex:
            return
        for directory in (f"ipv4/conf/{name}", f"ipv6/conf/{name}", f"ipv4/neigh/{name}"):
            if ifindex is None:
                self._watch.forget(directory)
            else:
                self._follow(directory)
        if ifindex is None:
            del self._followed[name]
        else:
            self._followed[name] = ifindex

    def _follow(self, directory: str) -> None:
        try:
            if self._watch is not None:
                self._watch.follow(directory)
        except FileNotFoundError:
            pass  # The interface has gone, or has no IPv6.
        except OSError as error:
            if self._all_followed:
                self._all_followed = False
                log.warning("sysctls.not_followed", reason=str(error), cure="raise fs.inotify.max_user_watches")
