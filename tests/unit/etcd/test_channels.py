"""How channels are set up: what of the settings' files is refused before gRPC sees it."""

from pathlib import Path

import pytest

from calico_openstack.etcd.channels import credentials
from calico_openstack.etcd.values import EtcdSettings


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("PEM", None, "the key is missing: none is set"),
        (None, "PEM", "the certificate is missing: none is set"),
        ("PEM", "", "the key is missing: .*key.pem is empty"),
        ("", "PEM", "the certificate is missing: .*cert.pem is empty"),
    ],
)
def test_half_of_a_client_certificate_is_an_error_and_not_the_end_of_the_process(
    tmp_path: Path, certificate: str | None, key: str | None, said: str
) -> None:
    paths: dict[str, str] = {}
    for name, text in (("cert", certificate), ("key", key)):
        if text is not None:
            path = tmp_path / f"{name}.pem"
            path.write_text(text)
            paths[f"{name}_file"] = str(path)

    with pytest.raises(OSError, match=said):
        credentials(EtcdSettings(cert_file=paths.get("cert_file"), key_file=paths.get("key_file")))
