"""The one thing that is kept true: BIRD runs with the wanted configuration.

```
    wanted text ─► `bird -p` ─► file in place ─► "configure" ─► in force
```

Each arrow may fail by itself. A refused text leaves file and BIRD as they are. A BIRD that is not there reads
the file when it starts; the agent tells it once more as soon as it answers, which changes nothing if it has
read the file already.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from calico_openstack.bgp import swap
from calico_openstack.bgp.bird import Bird, BirdAway, Refused
from calico_openstack.bgp.render import HEADER, digest, redacted
from calico_openstack.daemon.logs import get_logger

log = get_logger("bgp.plane")


@dataclass(slots=True)
class Plane:
    """`in_force` is the text that BIRD surely has; `error` why the wanted one is not."""

    bird: Bird
    path: Path
    binary: str = "bird"
    group: str = "bird"
    in_force: str | None = field(default=None, repr=False)
    error: str = ""
    _refused: str | None = field(default=None, repr=False)

    def present(self) -> str | None:
        """The text in the file; None if there is none, or none that can be read."""
        try:
            return swap.read(self.path)
        except (OSError, UnicodeDecodeError):
            return None

    async def bring(self, text: str, again: bool = False) -> bool:
        """Make `text` the configuration in force; whether it is. A refused text is tried once, or `again`."""
        before = self.present()
        if text == self.in_force == before and not self.error:
            return True
        if text == self._refused and not again:
            return False
        self._refused = None
        if before != text:
            try:
                copy = swap.keep_foreign(self.path, HEADER)
                if copy is not None:
                    log.warning("configuration.foreign", kept=str(copy), reason="not written by this agent")
                await swap.put(self.path, text, self.binary, self.group)
            except (swap.CheckFailed, OSError) as error:
                return self._fail(text, f"the configuration was not accepted: {error}")
            log.info("configuration.written", path=str(self.path), hash=digest(text))
            log.debug("configuration.text", text=redacted(text))
        try:
            await self.bird.configure()
        except BirdAway as error:
            # Not a fault of the text: asked again when BIRD answers, see the agent's poll.
            self.error = f"BIRD does not answer: {error}"
            self.in_force = None
            return False
        except Refused as error:
            if before is not None and before != text:
                # A BIRD that restarts now must find what it had.
                await self._restore(before)
            return self._fail(text, f"BIRD refused the configuration: {error}")
        self.in_force, self.error = text, ""
        log.info("configuration.in_force", hash=digest(text))
        return True

    def _fail(self, text: str, reason: str) -> bool:
        self._refused = text
        self.error = reason
        log.error("configuration.refused", reason=reason, kept="the running configuration")
        return False

    async def _restore(self, before: str) -> None:
        try:
            await swap.put(self.path, before, self.binary, self.group)
        except (swap.CheckFailed, OSError) as error:
            log.warning("configuration.not_restored", reason=str(error))
