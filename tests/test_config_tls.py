# SPDX-License-Identifier: MIT
"""The settings of TLS: what goes together, what is refused, and what is never shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trioserve.cli import main
from trioserve.config import Config, TlsOptions
from trioserve.config.rendering import to_toml
from trioserve.config.sources import read_environment, resolve
from trioserve.config.tls_kinds import SniCertificate, parse_sni_certificate
from trioserve.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "hunter2"


def hook(config: Config, factory: Callable[[], object]) -> object:
    return factory()


@pytest.mark.parametrize(
    ("given", "name", "held"),
    [
        ({"certfile": Path("c.pem")}, "certfile", "c.pem"),
        ({"certfile": "c.pem", "insecure_bind": ":80"}, "insecure_bind", (":80",)),
        ({"certfile": "c.pem", "sni_certificate": "a=b"}, "sni_certificate", ("a=b",)),
        ({"tls_handshake_timeout": 3}, "tls_handshake_timeout", 3.0),
    ],
)
def test_what_comes_is_brought_into_one_form(given: dict[str, Any], name: str, held: Any) -> None:
    assert getattr(Config(**given), name) == held


@pytest.mark.parametrize(
    ("given", "has_tls"),
    [({}, False), ({"certfile": "c.pem"}, True), ({"ssl_context": hook}, True)],
)
def test_a_certificate_or_a_hook_turns_tls_on(given: dict[str, Any], has_tls: bool) -> None:
    assert Config(**given).has_tls is has_tls


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"keyfile": "k.pem"}, "keyfile 'k.pem': there is no certfile, so there is no TLS; set"),
        (
            {"keyfile_password": SECRET},
            "keyfile_password (not shown): there is no certfile, so there is no",
        ),
        ({"ciphers": "ALL"}, "ciphers 'ALL': there is no certfile"),
        ({"ca_certs": "a.pem"}, "ca_certs 'a.pem': there is no certfile"),
        ({"sni_certificate": "a=b"}, "sni_certificate ('a=b',): there is no certfile"),
        ({"insecure_bind": ":80"}, "insecure_bind (':80',): there is no certfile"),
        ({"cert_reqs": "required"}, 'cert_reqs "required": there is no certfile, so there is no'),
        ({"ssl_context": hook, "keyfile": "k"}, "keyfile 'k': it goes with a certfile; set"),
        ({"ssl_context": hook, "sni_certificate": "a=b"}, "sni_certificate ('a=b',): it goes with"),
        (
            {"certfile": "c", "cert_reqs": "optional"},
            'cert_reqs "optional": there are no ca_certs to check client certificates against',
        ),
        (
            {"certfile": "c", "ca_certs": "a.pem"},
            "ca_certs 'a.pem': clients are not asked for a certificate; set cert_reqs",
        ),
        ({"certfile": ""}, "certfile '': expected the path of a file"),
        ({"certfile": 3}, "certfile 3: expected the path of a file"),
        ({"cert_reqs": "2"}, 'cert_reqs \'2\': expected one of "none", "optional", "required"'),
        ({"tls_min_version": "1.1"}, 'tls_min_version \'1.1\': expected one of "1.2", "1.3"'),
        ({"ciphers": " "}, "ciphers ' ': expected a list of ciphers as OpenSSL has it"),
        ({"insecure_bind": "x:y"}, "insecure_bind 'x:y': the port must be a number"),
        ({"insecure_bind": [80]}, "insecure_bind (80,): expected addresses, each host:port"),
        ({"ssl_context": 3}, 'ssl_context 3: expected "module:attr" as text, or a callable'),
        ({"tls_handshake_timeout": -1}, "tls_handshake_timeout -1: expected seconds"),
        ({"sni_certificate": [3]}, 'sni_certificate (3,): expected texts, each "HOST=CERTFILE"'),
        (
            {"certfile": "c", "sni_certificate": ["a.example=1", "A.example.=2"]},
            "sni_certificate ('a.example=1', 'A.example.=2'): a.example is there more than once",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_name_of_its_setting(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**given)
    assert str(caught.value).startswith(message)


def test_where_it_came_from_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^keyfile 'k': .* \(from TRIOSERVE_KEYFILE\)$"):
        resolve(read_environment({"TRIOSERVE_KEYFILE": "k"}))
    with pytest.raises(ConfigError, match=r"\(from TRIOSERVE_KEYFILE_PASSWORD\)$") as caught:
        resolve(read_environment({"TRIOSERVE_KEYFILE_PASSWORD": SECRET}))
    assert SECRET not in str(caught.value)


def test_a_hook_may_bring_its_own_authorities() -> None:
    assert Config(certfile="c", ssl_context=hook, cert_reqs="required").has_tls


def test_the_group_alone_validates_too() -> None:
    with pytest.raises(ConfigError, match=r"^keyfile 'k\.pem': there is no certfile"):
        TlsOptions(keyfile="k.pem")


# -- by name ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("shop.example=s.pem", ("shop.example", "s.pem", None)),
        ("Shop.Example.=s.pem,s.key", ("shop.example", "s.pem", "s.key")),
        (" *.shop.example = s.pem , s.key ", ("*.shop.example", "s.pem", "s.key")),
        ("xn--bcher-kva.example=a=b.pem", ("xn--bcher-kva.example", "a=b.pem", None)),
        ("localhost=/etc/tls/l.pem", ("localhost", "/etc/tls/l.pem", None)),
    ],
)
def test_a_certificate_by_name(text: str, parsed: tuple[str, str, str | None]) -> None:
    assert parse_sni_certificate(text) == SniCertificate(*parsed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("shop.example", "expected HOST=CERTFILE"),
        ("shop.example=", "expected HOST=CERTFILE"),
        ("shop.example=a.pem,", "expected HOST=CERTFILE"),
        ("=a.pem", "expected a host name"),
        ("*=a.pem", "expected a host name"),
        ("*.*.example=a.pem", "expected a host name"),
        ("a.*.example=a.pem", "expected a host name"),
        ("f*.example=a.pem", "expected a host name"),
        ("a..example=a.pem", "expected a host name"),
        (f"{'a.' * 130}example=a.pem", "expected a host name"),
        ("bücher.example=a.pem", "outside ASCII"),
        ("127.0.0.1=a.pem", "no name for an IP address"),
        ("[::1]=a.pem", "expected a host name"),
    ],
)
def test_what_is_no_certificate_by_name_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=r"^sni_certificate ") as caught:
        parse_sni_certificate(text)
    assert repr(text) in str(caught.value)
    assert reason in str(caught.value)


def test_in_a_variable_a_part_without_a_name_is_the_key_of_the_part_before() -> None:
    variables = {
        "TRIOSERVE_CERTFILE": "c.pem",
        "TRIOSERVE_SNI_CERTIFICATE": "a.example=a.pem,a.key,b.example=b.pem,"
        "*.c.example=c.pem,c.key",
    }
    config, _ = resolve(read_environment(variables))
    assert config.sni_certificate == (
        "a.example=a.pem,a.key",
        "b.example=b.pem",
        "*.c.example=c.pem,c.key",
    )
    with pytest.raises(ConfigError, match=r"^sni_certificate 'a\.pem': expected HOST"):
        resolve(read_environment({**variables, "TRIOSERVE_SNI_CERTIFICATE": "a.pem,b=c"}))


# -- the secret -------------------------------------------------------------------------------


def test_the_password_is_in_no_repr() -> None:
    config = Config(certfile="c.pem", keyfile_password=SECRET)
    assert config.keyfile_password == SECRET
    assert SECRET not in repr(config)
    assert "keyfile_password=None" in repr(Config())


def test_the_password_is_in_no_error() -> None:
    with pytest.raises(ConfigError, match=r"^keyfile_password \(not shown\): expected a text$"):
        Config(certfile="c.pem", keyfile_password=4711)  # type: ignore[arg-type]


def test_print_config_says_where_the_password_is_from_and_not_what_it_is() -> None:
    config, origins = resolve(
        read_environment({"TRIOSERVE_CERTFILE": "c", "TRIOSERVE_KEYFILE_PASSWORD": SECRET})
    )
    text = to_toml(config, origins)
    assert SECRET not in text
    assert "# keyfile_password is set, by TRIOSERVE_KEYFILE_PASSWORD, and not shown" in text
    assert "# keyfile_password is not set" in to_toml(Config(), {})


def test_print_config_reads_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [
        *("--certfile", "c.pem", "--keyfile", "c.key", "--keyfile-password", SECRET),
        *("--ca-certs", "ca.pem", "--cert-reqs", "optional", "--ciphers", "ECDHE+AESGCM"),
        *("--tls-min-version", "1.3", "--tls-handshake-timeout", "4"),
        *("--sni-certificate", "a.example=a.pem,a.key", "--sni-certificate=*.b.example=b.pem"),
        *("--insecure-bind", "127.0.0.1:8080", "--insecure-bind", "unix:x.sock"),
        *("--ssl-context", "hooks:make"),
    ]
    assert main([*options, "--print-config"]) == 0
    text = capsys.readouterr().out
    assert SECRET not in text
    (tmp_path / "trioserve.toml").write_text(text)
    assert main(["--print-config"]) == 0
    again = capsys.readouterr().out
    values = [line.partition(" #")[0].rstrip() for line in text.splitlines() if line[:1] != "#"]
    assert values == [
        line.partition(" #")[0].rstrip() for line in again.splitlines() if line[:1] != "#"
    ]
    assert 'sni_certificate = ["a.example=a.pem,a.key", "*.b.example=b.pem"]' in values
