"""An agent as a program: `--config-file`, settings, logs, then the agent until it ends.

For agents whose settings have the group `[calico]`. The agent is made inside the loop, because its events and sockets
belong to it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from calico_openstack.daemon import logs
from calico_openstack.daemon.run import BAD_SETTINGS, run
from calico_openstack.daemon.settings import CalicoOptions, SettingsError


class _WithCalicoGroup(Protocol):
    @property
    def calico(self) -> CalicoOptions: ...


S = TypeVar("S", bound=_WithCalicoGroup)


@dataclass(frozen=True, slots=True)
class Program(Generic[S]):
    """`read` raises SettingsError for what it cannot accept; `serve` runs the agent."""

    name: str
    description: str
    file: str
    groups: str
    read: Callable[[str], S]
    serve: Callable[[S], Coroutine[Any, Any, None]]

    def main(self, arguments: list[str] | None = None) -> int:
        """The exit code, as `run` gives it."""
        parser = argparse.ArgumentParser(self.name, description=self.description)
        parser.add_argument(
            "--config-file", default=self.file, help=f"INI file with {self.groups} (default: %(default)s)"
        )
        options = parser.parse_args(arguments)
        try:
            settings = self.read(options.config_file)
        except SettingsError as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            return BAD_SETTINGS
        logs.setup(settings.calico.log_level, host=settings.calico.host)
        return run(self.serve(settings), self.name)
