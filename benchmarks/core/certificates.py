# SPDX-License-Identifier: MIT
"""A throwaway certificate for 127.0.0.1, for the suites that measure TLS."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Certificate(NamedTuple):
    """Two PEM files; the key is PKCS#8, which every server reads."""

    cert: Path
    key: Path


class CertificateError(Exception):
    """There is no openssl command, or it failed."""


@contextlib.contextmanager
def certificate() -> Iterator[Certificate]:
    """Makes a self-signed one of an elliptic curve, as most are today, and removes it after.

    Raises:
        CertificateError: it could not be made.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = Certificate(Path(folder, "cert.pem"), Path(folder, "key.pem"))
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]
        command += ["-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-keyout", str(found.key), "-out", str(found.cert)]
        try:
            subprocess.run(command, capture_output=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError) as exc:
            raise CertificateError(f"no certificate ({type(exc).__name__} of openssl)") from exc
        yield found
