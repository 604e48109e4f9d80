"""One dnsmasq, kept running and told of changes.

It lives in its own session: when the agent is killed, guests go on renewing. The next agent takes it over if it runs
the same command line and the ledger of its leases is on disk (`instance.json`); otherwise it is ended and started
anew. A taken-over server is always told to read its files once, since nobody knows whether it was told last time.

```
    keep()    no server? take over or start ─► wait for its end ─► pause, if it ended young ─► again
    apply()   write the files ─► an address has a new owner: restart;  a file changed: SIGHUP;  else nothing
```

Crash at any line: files are replaced before the server is told, and the ledger is written before the server can lease
by it, so the next agent finds at worst work to do again.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence

import msgspec

from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.retry import Retries
from calico_openstack.dhcp import process
from calico_openstack.dhcp.command import Place
from calico_openstack.dhcp.files import open_directory, write_if_different
from calico_openstack.dhcp.grants import Ledger

log = get_logger("dhcp.dnsmasq")

_YOUNG = 10.0
_START_LIMIT = 10.0
# dnsmasq's manual page, EXIT CODES.
_EXITS = "it says why above; exit 2 means that another program has the DHCP port on all addresses"


class Instance(msgspec.Struct):
    """What the next agent must know about a running server."""

    pid: int
    started: int
    owners: dict[str, str]


class NotStarted(Exception):
    """dnsmasq ended, or was not ready in time."""


class Dnsmasq:
    """`name` is for the log; `command` its whole command line, with an absolute path."""

    def __init__(self, name: str, place: Place, command: Sequence[str]) -> None:
        self.name = name
        self._place = place
        self._command = list(command)
        self._process: process.Process | None = None
        self._ledger = Ledger()
        self._owners: Mapping[str, str] | None = None  # nothing has been applied yet
        self._busy = asyncio.Lock()
        self.running = asyncio.Event()

    async def keep(self) -> None:
        """Never ends: there is a server, or there will be one soon."""
        open_directory(self._place.directory)
        for path in (self._place.hosts, self._place.options):
            if not path.exists():
                write_if_different(path, "")
        failures: Retries[str] = Retries(shortest=0.2, longest=10.0)
        while True:
            began = time.monotonic()
            try:
                async with self._busy:
                    current = self._process or await self._take_over() or await self._start()
                await current.ended()
            except (OSError, NotStarted) as error:
                log.error("dnsmasq.not_started", server=self.name, reason=str(error), cure=_EXITS)
            async with self._busy:
                if self._process is not None and self._process.running:
                    continue  # restarted on purpose
                self._forget()
            if time.monotonic() - began > _YOUNG:
                failures.succeeded(self.name)
            pause = failures.failed(self.name, "ended", time.monotonic()).pause
            log.warning("dnsmasq.ended", server=self.name, again_in=pause)
            await asyncio.sleep(pause)

    async def apply(self, hosts: str, options: str, owners: Mapping[str, str]) -> bool:
        """Serve by these texts from now on; True if anything had to be done. `owners`: see `grants`."""
        async with self._busy:
            self._owners = dict(owners)
            open_directory(self._place.directory)
            changed = [write_if_different(self._place.hosts, hosts), write_if_different(self._place.options, options)]
            if self._process is None or not self._process.running:
                return any(changed)
            moved = self._ledger.moved(owners)
            if moved:
                log.info("dnsmasq.restart", server=self.name, reason="addresses have new owners", addresses=moved)
                try:
                    await self._restart()
                except (OSError, NotStarted) as error:  # `keep` tries again
                    log.error("dnsmasq.not_started", server=self.name, reason=str(error), cure=_EXITS)
                return True
            if self._ledger.note(owners):
                self._remember()
            if any(changed):
                self._process.send(signal.SIGHUP)
                log.info("dnsmasq.reload", server=self.name, hosts=hosts.count("\n"))
            return any(changed)

    async def _take_over(self) -> process.Process | None:
        found = process.find(self._place.pid, self._command)
        if found is None:
            return None
        known = self._recorded()
        if not self._is_ours(found, known):
            log.info("dnsmasq.replace", server=self.name, pid=found.pid, reason="other command line or unknown leases")
            await found.end()
            found.close()
            return None
        assert known is not None
        self._process, self._ledger = found, Ledger(dict(known.owners))
        if self._ledger.note(self._owners or {}):
            self._remember()
        found.send(signal.SIGHUP)
        log.info("dnsmasq.taken_over", server=self.name, pid=found.pid)
        self.running.set()
        return found

    def _is_ours(self, found: process.Process, known: Instance | None) -> bool:
        if known is None or (known.pid, known.started) != (found.pid, found.started):
            return False
        return process.runs(found, self._command) and not Ledger(known.owners).moved(self._owners or {})

    async def _start(self) -> process.Process:
        # Before the first `apply` it serves by the files of a former agent, whose owners the record knows.
        recorded = self._recorded()
        owners = self._owners if self._owners is not None else recorded.owners if recorded else {}
        self._place.instance.unlink(missing_ok=True)
        self._place.pid.unlink(missing_ok=True)
        began = time.monotonic()
        started = process.spawn(self._command)
        try:
            await self._ready(started)
        except BaseException:
            await started.end(0.5)
            started.close()
            raise
        self._process = started
        self._ledger = Ledger(dict(owners))
        self._remember()
        self.running.set()
        log.info("dnsmasq.started", server=self.name, pid=started.pid, took=round(time.monotonic() - began, 3))
        return started

    async def _ready(self, started: process.Process) -> None:
        """dnsmasq writes its pid file when its sockets are open; before that a SIGHUP would be lost."""
        limit = time.monotonic() + _START_LIMIT
        while time.monotonic() < limit:
            if not started.running:
                raise NotStarted("dnsmasq ended while it started")
            try:
                if self._place.pid.read_text().strip() == str(started.pid):
                    return
            except OSError:
                pass
            await asyncio.sleep(0.005)
        raise NotStarted(f"dnsmasq was not ready within {_START_LIMIT:g} s")

    async def _restart(self) -> None:
        old, self._process = self._process, None
        assert old is not None
        self.running.clear()
        await old.end()
        old.close()
        await self._start()

    def _forget(self) -> None:
        self.running.clear()
        if self._process is not None:
            self._process.close()
            self._process = None

    def _remember(self) -> None:
        assert self._process is not None
        instance = Instance(self._process.pid, self._process.started, self._ledger.owners)
        write_if_different(self._place.instance, msgspec.json.encode(instance).decode(), 0o600)

    def _recorded(self) -> Instance | None:
        try:
            return msgspec.json.decode(self._place.instance.read_bytes(), type=Instance)
        except (OSError, msgspec.MsgspecError):
            return None
