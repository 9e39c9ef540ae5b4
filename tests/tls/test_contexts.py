# SPDX-License-Identifier: MIT
"""From settings and files to contexts: each error, the hook, and reading again."""

from __future__ import annotations

import logging
import os
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trioserve.config import Config
from trioserve.errors import AppImportError, ConfigError, TrioserveError
from trioserve.tls import TlsContexts, open_contexts
from trioserve.tls.files import ServerContext

from .authority import PASSWORD, authority, encrypted, write_certificate

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    certfile, keyfile = write_certificate(tmp_path, "localhost")
    return {"certfile": certfile, "keyfile": keyfile}


def certificate_of(context: ssl.SSLContext) -> str | None:
    assert isinstance(context, ServerContext)
    return context.certificate


def first_certificate(path: str) -> str:
    text = Path(path).read_text()
    end = "-----END CERTIFICATE-----\n"
    return text[: text.index(end) + len(end)]


# -- settings ---------------------------------------------------------------------------------


def test_without_tls_there_are_no_contexts() -> None:
    assert open_contexts(Config()) is None


def test_certificate_and_key_may_be_one_file(tmp_path: Path, files: dict[str, Any]) -> None:
    both = tmp_path / "both.pem"
    both.write_text(Path(files["keyfile"]).read_text() + Path(files["certfile"]).read_text())
    context = TlsContexts(Config(certfile=both)).current(0)
    assert certificate_of(context) == first_certificate(files["certfile"])


def test_an_encrypted_key_opens_with_its_password(files: dict[str, Any]) -> None:
    encrypted(Path(files["keyfile"]))
    context = TlsContexts(Config(**files, keyfile_password=PASSWORD)).current(0)
    assert certificate_of(context) == first_certificate(files["certfile"])


@pytest.mark.parametrize(
    ("options", "attribute", "value"),
    [
        ({}, "verify_mode", ssl.CERT_NONE),
        ({}, "minimum_version", ssl.TLSVersion.TLSv1_2),
        ({"tls_min_version": "1.3"}, "minimum_version", ssl.TLSVersion.TLSv1_3),
        ({"cert_reqs": "optional"}, "verify_mode", ssl.CERT_OPTIONAL),
        ({"cert_reqs": "required"}, "verify_mode", ssl.CERT_REQUIRED),
    ],
)
def test_settings_arrive(
    tmp_path: Path, files: dict[str, Any], options: dict[str, Any], attribute: str, value: object
) -> None:
    if "cert_reqs" in options:
        authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        options = {**options, "ca_certs": tmp_path / "ca.pem"}
    context = TlsContexts(Config(**files, **options)).current(0)
    assert getattr(context, attribute) == value
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_ciphers_are_those_that_were_asked_for(files: dict[str, Any]) -> None:
    context = TlsContexts(Config(**files, ciphers="ECDHE+CHACHA20")).current(0)
    names = [one["name"] for one in context.get_ciphers() if not one["name"].startswith("TLS_")]
    assert names
    assert all(name.startswith("ECDHE") and "CHACHA20" in name for name in names)


# -- what is wrong ----------------------------------------------------------------------------


def _no_certificate(folder: Path, files: dict[str, Any]) -> None:
    files["certfile"] = files["keyfile"]


def _certificate_is_gone(folder: Path, files: dict[str, Any]) -> None:
    files["certfile"] = str(folder / "gone.pem")


def _certificate_is_a_folder(folder: Path, files: dict[str, Any]) -> None:
    files["certfile"] = str(folder)


def _certificate_is_broken(folder: Path, files: dict[str, Any]) -> None:
    path = Path(files["certfile"])
    path.write_text(path.read_text().replace("\nMI", "\nXX"))


def _key_is_gone(folder: Path, files: dict[str, Any]) -> None:
    os.unlink(files["keyfile"])


def _no_key(folder: Path, files: dict[str, Any]) -> None:
    del files["keyfile"]


def _key_is_a_certificate(folder: Path, files: dict[str, Any]) -> None:
    files["keyfile"] = files["certfile"]


def _other_key(folder: Path, files: dict[str, Any]) -> None:
    files["keyfile"] = write_certificate(folder, "other", stem="other")[1]


def _encrypted_key(folder: Path, files: dict[str, Any]) -> None:
    encrypted(Path(files["keyfile"]))


def _wrong_password(folder: Path, files: dict[str, Any]) -> None:
    encrypted(Path(files["keyfile"]))
    files["keyfile_password"] = "hunter2"


def _unknown_ciphers(folder: Path, files: dict[str, Any]) -> None:
    files["ciphers"] = "ROT13"


def _authorities_are_gone(folder: Path, files: dict[str, Any]) -> None:
    files.update(cert_reqs="required", ca_certs=str(folder / "gone.pem"))


def _authorities_are_none(folder: Path, files: dict[str, Any]) -> None:
    files.update(cert_reqs="required", ca_certs=files["keyfile"])


def _authorities_are_broken(folder: Path, files: dict[str, Any]) -> None:
    broken = folder / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nXX\n-----END CERTIFICATE-----\n")
    files.update(cert_reqs="required", ca_certs=str(broken))


def _named_certificate_is_gone(folder: Path, files: dict[str, Any]) -> None:
    files["sni_certificate"] = [f"a.example={folder}/gone.pem"]


def _named_key_is_another(folder: Path, files: dict[str, Any]) -> None:
    files["sni_certificate"] = [f"a.example={files['certfile']},{folder}/other.key"]
    write_certificate(folder, "other", stem="other")


FAULTS: list[tuple[Callable[[Path, dict[str, Any]], None], str]] = [
    (_no_certificate, "certfile '{}/server.key': there is no PEM certificate in this file"),
    (_certificate_is_gone, "certfile '{}/gone.pem': the file can't be read: No such file or"),
    (_certificate_is_a_folder, "certfile '{}': the file can't be read: Is a directory"),
    (_certificate_is_broken, "certfile '{}/server.pem': OpenSSL can't use this certificate with"),
    (_key_is_gone, "keyfile '{}/server.key': the file can't be read: No such file or directory"),
    (_no_key, "certfile '{}/server.pem': there is no PEM private key in it; put it there, or"),
    (_key_is_a_certificate, "keyfile '{}/server.pem': there is no PEM private key in it"),
    (_other_key, "keyfile '{}/other.key': the key in '{}/other.key' doesn't belong to the cert"),
    (_encrypted_key, "keyfile '{}/server.key': the key is encrypted; set keyfile_password"),
    (_wrong_password, "keyfile '{}/server.key': the key can't be opened with keyfile_password"),
    (_unknown_ciphers, "ciphers 'ROT13': OpenSSL knows no cipher by that; `openssl ciphers` lists"),
    (_authorities_are_gone, "ca_certs '{}/gone.pem': the file can't be read: No such file"),
    (_authorities_are_none, "ca_certs '{}/server.key': there is no PEM certificate in this"),
    (_authorities_are_broken, "ca_certs '{}/broken.pem': OpenSSL can't use it: "),
    (_named_certificate_is_gone, "sni_certificate '{}/gone.pem': the file can't be read: No"),
    (_named_key_is_another, "sni_certificate '{}/other.key': the key in '{}/other.key' doesn't"),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_what_is_wrong_is_said_with_the_setting_and_the_file(
    tmp_path: Path,
    files: dict[str, Any],
    spoil: Callable[[Path, dict[str, Any]], None],
    message: str,
) -> None:
    spoil(tmp_path, files)
    with pytest.raises(ConfigError) as caught:
        TlsContexts(Config(**files))
    assert str(caught.value).startswith(message.replace("{}", str(tmp_path)))
    assert "hunter2" not in str(caught.value)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(files: dict[str, Any]) -> None:
    os.chmod(files["keyfile"], 0)
    with pytest.raises(ConfigError, match=r"^keyfile .*: the file can't be read: Permission"):
        TlsContexts(Config(**files))


# -- the hook ---------------------------------------------------------------------------------


def test_a_hook_changes_what_the_settings_make(files: dict[str, Any]) -> None:
    seen: list[Config] = []

    def harden(config: Config, factory: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        seen.append(config)
        context = factory()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    config = Config(**files, ssl_context=harden)
    context = TlsContexts(config).current(0)
    assert seen == [config]
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert certificate_of(context) == first_certificate(files["certfile"])


def test_a_hook_is_asked_for_each_certificate(tmp_path: Path, files: dict[str, Any]) -> None:
    made: list[str | None] = []

    def watch(config: Config, factory: Callable[[], ServerContext]) -> ssl.SSLContext:
        context = factory()
        made.append(context.certificate)
        return context

    certfile, keyfile = write_certificate(tmp_path, "a.example", stem="a")
    named = [f"a.example={certfile},{keyfile}"]
    TlsContexts(Config(**files, ssl_context=watch, sni_certificate=named))
    assert made == [first_certificate(certfile), first_certificate(files["certfile"])]


def test_a_hook_may_do_without_files_of_ours(files: dict[str, Any]) -> None:
    def own(config: Config, factory: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        context = factory()
        context.load_cert_chain(files["certfile"], files["keyfile"])
        return context

    context = TlsContexts(Config(ssl_context=own)).current(0)
    assert certificate_of(context) == first_certificate(files["certfile"])


def test_of_two_certificates_nobody_says_which_one_a_client_gets(
    tmp_path: Path, files: dict[str, Any]
) -> None:
    certfile, keyfile = write_certificate(tmp_path, "localhost", stem="second")

    def both(config: Config, factory: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        context = factory()
        context.load_cert_chain(certfile, keyfile)
        return context

    assert certificate_of(TlsContexts(Config(**files, ssl_context=both)).current(0)) is None


def test_a_hook_can_be_a_text(
    tmp_path: Path, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tls_hooks.py").write_text("def make(config, factory):\n    return factory()\n")
    monkeypatch.setattr(sys, "path", sys.path[:])
    config = Config(**files, ssl_context="tls_hooks:make", app_dir=str(tmp_path))
    assert certificate_of(TlsContexts(config).current(0))
    sys.modules.pop("tls_hooks", None)


def _fails(config: Config, factory: object) -> object:
    raise ZeroDivisionError("oh")


@pytest.mark.parametrize(
    ("hook", "error", "message"),
    [
        (lambda config, factory: None, ConfigError, "expected the hook to return an ssl.SSL"),
        (
            lambda config, factory: ssl.create_default_context(),
            ConfigError,
            "the hook returned a context for clients; make it by default_ssl_context_factory()",
        ),
        (_fails, AppImportError, "the hook failed: ZeroDivisionError: oh"),
        ("no_such_module:make", AppImportError, 'there is no module "no_such_module"'),
    ],
)
def test_a_hook_that_fails_is_an_error_of_its_setting(
    files: dict[str, Any], hook: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=r"^ssl_context: ") as caught:
        TlsContexts(Config(**files, ssl_context=hook))
    assert message in str(caught.value)


# -- again ------------------------------------------------------------------------------------


def test_files_that_stay_are_read_once(files: dict[str, Any]) -> None:
    contexts = TlsContexts(Config(**files))
    first = contexts.current(0)
    assert all(contexts.current(now) is first for now in (0, 0.5, 1, 10, 100))


def test_a_new_certificate_is_noticed_within_a_second(
    tmp_path: Path, files: dict[str, Any], log: pytest.LogCaptureFixture
) -> None:
    contexts = TlsContexts(Config(**files))
    first = contexts.current(10)
    write_certificate(tmp_path, "localhost")
    assert contexts.current(10.9) is first
    second = contexts.current(11)
    assert second is not first
    assert certificate_of(second) == first_certificate(files["certfile"])
    assert certificate_of(second) != certificate_of(first)
    assert contexts.current(100) is second
    assert [record.levelno for record in log.records] == [logging.INFO]


@pytest.mark.parametrize("which", ["keyfile", "named", "ca_certs"])
def test_every_file_counts(tmp_path: Path, files: dict[str, Any], which: str) -> None:
    named = write_certificate(tmp_path, "a.example", stem="a")
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    contexts = TlsContexts(
        Config(
            **files,
            sni_certificate="a.example={},{}".format(*named),
            cert_reqs="optional",
            ca_certs=tmp_path / "ca.pem",
        )
    )
    first = contexts.current(0)
    path = {"keyfile": files["keyfile"], "named": named[0], "ca_certs": tmp_path / "ca.pem"}[which]
    os.utime(path, ns=(1, 1))
    assert contexts.current(1) is not first


def test_what_can_not_be_used_is_told_once_and_changes_nothing(
    tmp_path: Path, files: dict[str, Any], log: pytest.LogCaptureFixture
) -> None:
    contexts = TlsContexts(Config(**files))
    first = contexts.current(0)
    good = {path: Path(path).read_bytes() for path in files.values()}
    write_certificate(tmp_path, "localhost")
    Path(files["keyfile"]).write_bytes(good[files["keyfile"]])  # the new one is still to come
    for now in range(1, 5):
        assert contexts.current(now) is first
    (record,) = log.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        f"the TLS certificates stay what they were: keyfile {files['keyfile']!r}: the key in "
        f"{files['keyfile']!r} doesn't belong to the certificate in {files['certfile']!r}"
    )
    os.unlink(files["keyfile"])
    assert [contexts.current(now) for now in (5, 6)] == [first, first]
    assert len(log.records) == 2
    write_certificate(tmp_path, "localhost")
    assert contexts.current(7) is not first


def test_a_hook_that_fails_later_is_told_of_with_its_traceback(
    files: dict[str, Any], log: pytest.LogCaptureFixture
) -> None:
    calls: list[None] = []

    def fails_later(config: Config, factory: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        calls.append(None)
        return factory() if len(calls) == 1 else 1 / 0  # type: ignore[return-value]

    contexts = TlsContexts(Config(**files, ssl_context=fails_later))
    first = contexts.current(0)
    assert not contexts.reload()
    assert contexts.current(5) is first
    assert "ZeroDivisionError" in log.text
    assert "fails_later" in log.text


def test_reload_reads_what_has_not_changed(files: dict[str, Any]) -> None:
    contexts = TlsContexts(Config(**files))
    first = contexts.current(0)
    assert contexts.reload()
    assert contexts.current(0) is not first


def test_every_error_is_one_that_the_command_line_reports() -> None:
    assert issubclass(AppImportError, TrioserveError)
    assert issubclass(ConfigError, TrioserveError)
