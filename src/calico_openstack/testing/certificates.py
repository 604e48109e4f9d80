"""Certificates for tests of TLS, made by openssl: an authority, what it signed, and one that it did not sign.

In the directory: `ca`, `server` (for localhost and 127.0.0.1), `client`, and `stranger`, each as `.crt` and `.key`.
They are valid for two days.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

_SCRIPT = """
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=ca
openssl req -x509 -newkey rsa:2048 -nodes -keyout stranger.key -out stranger.crt -days 2 -subj /CN=stranger
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' > extensions
for name in server client; do
    openssl req -newkey rsa:2048 -nodes -keyout $name.key -out $name.csr -subj /CN=$name
    openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out $name.crt -extfile extensions
done
"""


def make_certificates(directory: Path) -> Path:
    """Make them there; the directory again. Needs the program `openssl`."""
    subprocess.run(["bash", "-ec", _SCRIPT], cwd=directory, check=True, capture_output=True, timeout=60)
    return directory
