from pathlib import Path

import pytest

from calico_openstack.daemon.settings import IniFile, SettingsError, calico_options


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "agent.conf"
    path.write_text(text)
    return path


def test_the_single_host_of_upstream_becomes_one_endpoint(tmp_path: Path) -> None:
    file = IniFile(write(tmp_path, "[DEFAULT]\nhost = compute-01\n[calico]\netcd_host = 192.0.2.5\netcd_port = 4001\n"))

    options = calico_options(file)

    assert options.host == "compute-01"
    assert options.etcd.endpoints == ("http://192.0.2.5:4001",)


def test_an_ipv6_host_is_bracketed(tmp_path: Path) -> None:
    file = IniFile(write(tmp_path, "[calico]\netcd_host = 2001:db8::5\n"))

    assert calico_options(file).etcd.endpoints == ("http://[2001:db8::5]:2379",)


def test_the_list_of_endpoints_wins_over_the_single_host(tmp_path: Path) -> None:
    file = IniFile(
        write(tmp_path, "[calico]\netcd_host = 192.0.2.5\netcd_endpoints = https://a:2379, https://b:2379,\n")
    )

    assert calico_options(file).etcd.endpoints == ("https://a:2379", "https://b:2379")


def test_the_password_does_not_show_in_a_printed_value(tmp_path: Path) -> None:
    options = calico_options(IniFile(write(tmp_path, "[calico]\netcd_username = u\netcd_password = secret%1\n")))

    assert options.etcd.password == "secret%1"
    assert "secret" not in repr(options)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[calico]\netcd_port = abc\n", "etcd_port"),
        ("[calico]\netcd_port = 70000\n", "etcd_port"),
        ("[calico]\netcd_timeout = soon\n", "etcd_timeout"),
        ("[calico]\netcd_timeout = inf\n", "etcd_timeout"),
        ("[calico]\netcd_scheme = ftp\n", "etcd_scheme"),
        ("[calico]\netcd_endpoints = http://a:1, http://b:port\n", "http://b:port"),
        ("[calico]\netcd_ca_cert_file = /does/not/exist\n", "/does/not/exist"),
        ("[calico]\nopenstack_region = Not_A_Label\n", "openstack_region"),
        ("[DEFAULT]\ndebug = perhaps\n", "debug"),
    ],
)
def test_a_wrong_value_names_the_file_and_the_option(tmp_path: Path, text: str, named: str) -> None:
    path = write(tmp_path, text)

    with pytest.raises(SettingsError) as caught:
        calico_options(IniFile(path))

    assert str(path) in str(caught.value)
    assert named in str(caught.value)


def test_a_missing_file_and_a_file_that_is_not_ini_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.conf"):
        IniFile(tmp_path / "nowhere.conf")
    with pytest.raises(SettingsError, match="not an INI file"):
        IniFile(write(tmp_path, "this is not a section\n"))


def test_repeated_options_and_bare_names_are_accepted_as_oslo_config_does(tmp_path: Path) -> None:
    file = IniFile(write(tmp_path, "[a]\nx = 1\nx = 2\nbare\n"))

    assert file.integer("a", "x", 0) == 2
    assert file.text("a", "bare", "default") == "default"
