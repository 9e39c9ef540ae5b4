# SPDX-License-Identifier: MIT
"""The settings of TLS: a group like those in :mod:`.options`.

What can be told from the values alone is checked here. Files are only looked at when the server
starts (:mod:`trioserve.tls`), since a Config may be made on another machine.
"""

from __future__ import annotations

from typing import Final, Literal

import attrs

from trioserve.config import kinds, tls_kinds
from trioserve.config.fields import Hook, about, setting
from trioserve.config.tls_kinds import SniCertificate, parse_sni_certificate
from trioserve.errors import ConfigError

__all__ = ["TlsOptions"]

_GROUP: Final = "TLS"

#: What means nothing without TLS, or worse: not what it seems to.
_NEED_TLS: Final = (
    "keyfile",
    "keyfile_password",
    "ca_certs",
    "ciphers",
    "sni_certificate",
    "insecure_bind",
)


@attrs.frozen(kw_only=True, slots=False)
class TlsOptions:
    """Certificates, whose clients are let in, and what is spoken beside TLS."""

    certfile: str | None = attrs.field(
        default=None,
        converter=kinds.as_path_text,
        validator=tls_kinds.FILE,
        metadata=about(
            _GROUP,
            tls_kinds.FILE,
            "PEM file of the certificate and its chain; with it bind speaks HTTPS",
        ),
    )
    keyfile: str | None = attrs.field(
        default=None,
        converter=kinds.as_path_text,
        validator=tls_kinds.FILE,
        metadata=about(
            _GROUP, tls_kinds.FILE, "PEM file of its private key; not set: it is in certfile"
        ),
    )
    keyfile_password: str | None = attrs.field(
        default=None,
        repr=lambda value: repr(None) if value is None else "<not shown>",
        validator=tls_kinds.SECRET,
        metadata=about(_GROUP, tls_kinds.SECRET, "What the key files that are encrypted open with"),
    )
    ca_certs: str | None = attrs.field(
        default=None,
        converter=kinds.as_path_text,
        validator=tls_kinds.FILE,
        metadata=about(
            _GROUP, tls_kinds.FILE, "PEM file of the authorities whose client certificates count"
        ),
    )
    cert_reqs: Literal["none", "optional", "required"] = setting(
        _GROUP,
        kinds.choice("none", "optional", "required"),
        "none",
        "Client certificates: optional takes clients without one, never with a bad one",
    )
    ciphers: str | None = setting(
        _GROUP,
        tls_kinds.CIPHERS,
        None,
        "Ciphers of TLS 1.2, as OpenSSL writes them; not set: the default of Python and OpenSSL",
    )
    tls_min_version: Literal["1.2", "1.3"] = setting(
        _GROUP, kinds.choice("1.2", "1.3"), "1.2", "Oldest version of TLS"
    )
    sni_certificate: tuple[str, ...] = attrs.field(
        default=(),
        converter=kinds.as_texts,
        validator=tls_kinds.SNI_CERTIFICATES,
        metadata=about(
            _GROUP,
            tls_kinds.SNI_CERTIFICATES,
            "Another certificate for a host name or *.name that clients ask for; may be repeated",
        ),
    )
    tls_handshake_timeout: float = setting(
        _GROUP, kinds.SECONDS, 10.0, "From the connection to TLS being set up; 0 = no limit"
    )
    ssl_context: Hook | None = attrs.field(
        default=None,
        validator=kinds.HOOK,
        metadata=about(
            _GROUP,
            kinds.HOOK,
            "Called as hook(config, default_ssl_context_factory), returns the SSLContext to use",
        ),
    )
    insecure_bind: tuple[str, ...] = attrs.field(
        default=(),
        converter=kinds.as_texts,
        validator=tls_kinds.INSECURE_ADDRESSES,
        metadata=about(
            _GROUP,
            tls_kinds.INSECURE_ADDRESSES,
            "Listen here, too, and speak plain HTTP; as bind; may be repeated",
        ),
    )

    def __attrs_post_init__(self) -> None:
        if not self.has_tls:
            self._check_without_tls()
        elif self.certfile is None:
            self._check_without_certfile()
        # A hook may bring the authorities in by other means.
        elif self.cert_reqs != "none" and not self.ca_certs and self.ssl_context is None:
            raise ConfigError(
                f'cert_reqs "{self.cert_reqs}": there are no ca_certs to check client certificates '
                "against; name the PEM file of the authorities that sign them"
            )
        if self.ca_certs and self.cert_reqs == "none":
            raise ConfigError(
                f"ca_certs {self.ca_certs!r}: clients are not asked for a certificate; set "
                'cert_reqs to "required" or "optional" (the chain of the server\'s own '
                "certificate belongs into certfile)"
            )

    def _check_without_tls(self) -> None:
        for name in _NEED_TLS:
            if getattr(self, name):
                raise ConfigError(
                    f"{self._shown(name)}: there is no certfile, so there is no TLS; "
                    "set certfile to a PEM file with the certificate"
                )
        if self.cert_reqs != "none":
            raise ConfigError(
                f'cert_reqs "{self.cert_reqs}": there is no certfile, so there is no TLS and no '
                "client certificate; set certfile to a PEM file with the server's certificate"
            )

    def _check_without_certfile(self) -> None:
        for name in ("keyfile", "sni_certificate"):
            if getattr(self, name):
                raise ConfigError(
                    f"{self._shown(name)}: it goes with a certfile; set certfile to a PEM file "
                    "with the (default) certificate, or leave both to the ssl_context hook"
                )

    def _shown(self, name: str) -> str:
        """The setting with its value, by which the sources find where it came from."""
        value = "(not shown)" if name == "keyfile_password" else repr(getattr(self, name))
        return f"{name} {value}"

    @property
    def has_tls(self) -> bool:
        """Whether ``bind`` speaks TLS."""
        return self.certfile is not None or self.ssl_context is not None

    @property
    def sni_certificates(self) -> tuple[SniCertificate, ...]:
        """The certificates by name, parsed."""
        return tuple(parse_sni_certificate(text) for text in self.sni_certificate)
