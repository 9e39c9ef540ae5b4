# SPDX-License-Identifier: MIT
"""Certificate and key files: read into a context, or refused with what is wrong and what to do.

OpenSSL says "PEM lib" for most of what can be wrong with a file, asks on the terminal for a
password that it lacks, and Python leaves the file's name out of a FileNotFoundError. So files are
looked at before OpenSSL gets them, and it never has a reason to ask.
"""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, Final

from trioserve.errors import ConfigError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import TypeAlias

    Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
    Password: TypeAlias = str | bytes | bytearray | Callable[[], str | bytes | bytearray]

__all__ = ["ServerContext", "load_authorities", "load_certificate", "reason_of"]

_CERTIFICATE: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)
_ANY_CERTIFICATE: Final = re.compile(r"-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----")
_KEY: Final = re.compile(r"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----")

#: For OpenSSL's words, which name the check that failed and not what failed it.
_KNOWN_REASONS: Final = {
    "KEY_VALUES_MISMATCH": "the key in {key} doesn't belong to the certificate in {certificate}",
    "KEY_TYPE_MISMATCH": "the key in {key} doesn't belong to the certificate in {certificate}",
    "EE_KEY_TOO_SMALL": "OpenSSL takes the key of the certificate in {certificate} for too small",
    "CA_KEY_TOO_SMALL": "OpenSSL takes a key in the chain of {certificate} for too small",
    "CA_MD_TOO_WEAK": "OpenSSL takes a signature in {certificate} for too weak",
}


class ServerContext(ssl.SSLContext):
    """An SSLContext that knows its own certificate, which OpenSSL doesn't give back.

    Attributes:
        certificate: PEM; None before one is loaded, and where there are several, one a type of key:
            the client's ciphers choose.
    """

    certificate: str | None = None
    _loaded = False

    def load_cert_chain(
        self, certfile: Path, keyfile: Path | None = None, password: Password | None = None
    ) -> None:
        """As that of SSLContext."""
        super().load_cert_chain(certfile, keyfile, password)
        with open(certfile, encoding="latin-1") as file:
            found = _CERTIFICATE.search(file.read())
        self.certificate = f"{found[0]}\n" if found and not self._loaded else None
        self._loaded = True


def load_certificate(
    context: ServerContext,
    setting: str,
    certfile: str,
    keyfile: str | None,
    password: str | None,
) -> None:
    """Loads a certificate with its key.

    Args:
        setting: which one names the files, for errors.

    Raises:
        ConfigError: a file can't be read, or used.
    """
    key_setting, key_path = (setting, certfile) if keyfile is None else (setting, keyfile)
    if keyfile is not None and setting == "certfile":
        key_setting = "keyfile"
    if not _ANY_CERTIFICATE.search(_read(setting, certfile)):
        raise ConfigError(f"{setting} {certfile!r}: there is no PEM certificate in this file")
    if not _KEY.search(_read(key_setting, key_path)):
        hint = "" if keyfile else "; put it there, or name the file that has it (keyfile)"
        raise ConfigError(f"{key_setting} {key_path!r}: there is no PEM private key in it{hint}")

    asked: list[None] = []

    def tell_password() -> str:
        asked.append(None)
        return password or ""

    try:
        context.load_cert_chain(certfile, keyfile, tell_password)
    except (OSError, ValueError) as exc:  # an SSLError is an OSError
        if asked and _mismatch_is_not_why(exc):
            raise ConfigError(_about_password(key_setting, key_path, password)) from None
        known = _KNOWN_REASONS.get(getattr(exc, "reason", None) or "")
        if known is None:
            raise ConfigError(
                f"{setting} {certfile!r}: OpenSSL can't use this certificate with the key in "
                f"{key_path!r}: {reason_of(exc)}"
            ) from exc
        reason = known.format(key=repr(key_path), certificate=repr(certfile))
        raise ConfigError(f"{key_setting} {key_path!r}: {reason}") from exc


def _mismatch_is_not_why(exc: Exception) -> bool:
    # Only after the key was opened does OpenSSL compare.
    return getattr(exc, "reason", None) not in _KNOWN_REASONS


def _about_password(setting: str, path: str, password: str | None) -> str:
    if password:
        return f"{setting} {path!r}: the key can't be opened with keyfile_password"
    return f"{setting} {path!r}: the key is encrypted; set keyfile_password"


def load_authorities(context: ssl.SSLContext, ca_certs: str) -> None:
    """Has client certificates checked against those in the file.

    Raises:
        ConfigError: it can't be read, or has no certificate.
    """
    text = _read("ca_certs", ca_certs)
    if not _ANY_CERTIFICATE.search(text):
        raise ConfigError(f"ca_certs {ca_certs!r}: there is no PEM certificate in this file")
    try:
        context.load_verify_locations(cafile=ca_certs)
    except (OSError, ValueError) as exc:
        raise ConfigError(f"ca_certs {ca_certs!r}: OpenSSL can't use it: {reason_of(exc)}") from exc


def _read(setting: str, path: str) -> str:
    try:
        with open(path, encoding="latin-1") as file:
            return file.read()
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        raise ConfigError(f"{setting} {path!r}: the file can't be read: {reason}") from exc


def reason_of(exc: BaseException) -> str:
    """OpenSSL's reason in small letters, as people read them."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {exc.verify_message}"
    reason = getattr(exc, "reason", None)
    if isinstance(reason, str):
        return reason.lower().replace("_", " ")
    return str(exc) or type(exc).__name__
