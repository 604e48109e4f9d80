"""Settings of an agent: INI files in the form operators have for Neutron, with the group `[calico]` that all share.

The names are upstream's, so that a host's `neutron.conf` can be handed to the DHCP agent as it is; `etcd_endpoints`
is ours and wins over the single `etcd_host`. A value that cannot be understood is a `SettingsError` that names the
file, the option and the cure: an agent must not start with half a configuration.
"""

from __future__ import annotations

import configparser
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from calico_openstack.etcd.channels import target
from calico_openstack.etcd.values import EtcdSettings
from calico_openstack.model.names import check_region

T = TypeVar("T")

TRUE = frozenset({"1", "true", "yes", "y", "t", "on", "enabled"})
FALSE = frozenset({"0", "false", "no", "n", "f", "off", "disabled"})


class SettingsError(Exception):
    """A setting is wrong; the message names the file, the option, the value and the cure."""


class IniFile:
    """One INI file, read once. `DEFAULT` is an ordinary section here: its values are not inherited by the others."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        # oslo.config allows repeated options and has no interpolation; the last value of a repeated option wins here.
        self._parser = configparser.RawConfigParser(
            default_section="\0none", strict=False, inline_comment_prefixes=None, allow_no_value=True
        )
        self._parser.optionxform = lambda optionstr: optionstr.lower()  # type: ignore[method-assign]
        try:
            with open(path, encoding="utf-8") as file:
                self._parser.read_file(file)
        except OSError as error:
            raise SettingsError(f"cannot read {self.path}: {error.strerror}; give the right --config-file") from error
        except (configparser.Error, UnicodeDecodeError) as error:
            raise SettingsError(f"{self.path} is not an INI file: {error}") from error

    def sections(self) -> list[str]:
        return self._parser.sections()

    def options(self, section: str) -> dict[str, str]:
        """All options of a section, names in lower case; empty if there is no such section."""
        if not self._parser.has_section(section):
            return {}
        return {name: value or "" for name, value in self._parser.items(section)}

    def text(self, section: str, option: str, default: str = "") -> str:
        """The value without surrounding blanks; `default` if absent or empty."""
        return self.options(section).get(option.lower(), "").strip() or default

    def optional(self, section: str, option: str) -> str | None:
        return self.text(section, option) or None

    def integer(self, section: str, option: str, default: int, low: int = 0, high: int = 2**31 - 1) -> int:
        def convert(text: str) -> int:
            number = int(text)
            if not low <= number <= high:
                raise ValueError
            return number

        return self._converted(section, option, default, convert, f"a whole number from {low} to {high}")

    def number(self, section: str, option: str, default: float, low: float = 0.0) -> float:
        def convert(text: str) -> float:
            number = float(text)
            if not low <= number < float("inf"):
                raise ValueError
            return number

        return self._converted(section, option, default, convert, f"a number of at least {low:g}")

    def boolean(self, section: str, option: str, default: bool) -> bool:
        def convert(text: str) -> bool:
            if text.lower() not in TRUE | FALSE:
                raise ValueError
            return text.lower() in TRUE

        return self._converted(section, option, default, convert, "true or false")

    def words(self, section: str, option: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A comma-separated list without blanks and empty items."""
        text = self.text(section, option)
        return tuple(word.strip() for word in text.split(",") if word.strip()) if text else default

    def _converted(self, section: str, option: str, default: T, convert: Callable[[str], T], wanted: str) -> T:
        text = self.text(section, option)
        if not text:
            return default
        try:
            return convert(text)
        except ValueError as error:
            raise SettingsError(f"{self.path}: [{section}] {option} = {text!r}: {wanted} is expected") from error


@dataclass(frozen=True, slots=True)
class CalicoOptions:
    """What every agent needs to know: who it is, where etcd is, which region it belongs to.

    `host` must be spelled as Nova's `host` (Neutron's `binding:host_id`).
    """

    host: str
    etcd: EtcdSettings
    region: str | None = None
    log_level: str = "INFO"


def calico_options(file: IniFile) -> CalicoOptions:
    """Read `[DEFAULT] host, debug` and the group `[calico]`; SettingsError for anything that cannot be understood."""
    region = file.optional("calico", "openstack_region")
    if region is not None:
        try:
            check_region(region)
        except ValueError as error:
            raise SettingsError(f"{file.path}: [calico] openstack_region: {error}") from error
    return CalicoOptions(
        host=file.text("DEFAULT", "host") or socket.gethostname(),
        etcd=EtcdSettings(
            endpoints=_endpoints(file),
            ca_file=_existing_file(file, "etcd_ca_cert_file"),
            cert_file=_existing_file(file, "etcd_cert_file"),
            key_file=_existing_file(file, "etcd_key_file"),
            username=file.optional("calico", "etcd_username"),
            password=file.optional("calico", "etcd_password"),
            timeout=file.number("calico", "etcd_timeout", 10.0, low=0.1),
        ),
        region=region,
        log_level="DEBUG" if file.boolean("DEFAULT", "debug", False) else file.text("DEFAULT", "log_level", "INFO"),
    )


def _endpoints(file: IniFile) -> tuple[str, ...]:
    listed = file.words("calico", "etcd_endpoints")
    for endpoint in listed:
        try:
            target(EtcdSettings(), endpoint)
        except ValueError as error:
            raise SettingsError(f"{file.path}: [calico] etcd_endpoints: {error}") from error
    if listed:
        return listed
    host = file.text("calico", "etcd_host", "127.0.0.1")
    port = file.integer("calico", "etcd_port", 2379, low=1, high=65535)
    secured = any(file.optional("calico", f"etcd_{kind}_file") for kind in ("ca_cert", "cert", "key"))
    scheme = file.text("calico", "etcd_scheme", "https" if secured else "http")
    if scheme not in ("http", "https"):
        raise SettingsError(f"{file.path}: [calico] etcd_scheme = {scheme!r}: http or https is expected")
    return (f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}",)


def _existing_file(file: IniFile, option: str) -> str | None:
    path = file.optional("calico", option)
    if path is not None and not Path(path).is_file():
        raise SettingsError(f"{file.path}: [calico] {option} = {path!r}: there is no such file")
    return path
