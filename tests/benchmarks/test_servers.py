# SPDX-License-Identifier: MIT
from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cli import CHOICE
from benchmarks.core.certificates import Certificate
from benchmarks.core.servers import LIBRARIES, SERVERS
from benchmarks.dirty.contenders import US
from benchmarks.suites import SUITES


def test_a_command_names_the_app_and_an_address_of_this_machine_only() -> None:
    command = SERVERS["trioserve-h11"].command("python", "m:app", 8123)
    assert " ".join(command) == (
        "python -m trioserve --bind 127.0.0.1:8123 --http h11"
        " --no-access-log --log-level warning m:app"
    )


@pytest.mark.parametrize("name", SERVERS)
def test_every_server_is_quiet_and_local(name: str) -> None:
    command = SERVERS[name].command("python", "m:app", 8123)
    assert command[-1] == "m:app"
    assert command[command.index("--log-level") + 1] == "warning"
    assert any("127.0.0.1" in word for word in command)
    assert any("8123" in word for word in command)


@pytest.mark.parametrize("name", [*SERVERS, *LIBRARIES])
def test_every_server_can_be_given_a_certificate(name: str) -> None:
    server = (SERVERS | LIBRARIES)[name].with_tls(Certificate(Path("c.pem"), Path("k.pem")))
    words = server.command("python", "m:app", 8123)
    assert words.index("c.pem") < words.index("k.pem") < len(words) - 1
    assert server.name == name


@pytest.mark.parametrize("library", ["h2", "jh2"])
def test_a_library_alone_has_the_port_and_no_app(library: str) -> None:
    command = LIBRARIES[f"{library}-alone"].command("python", "m:app", 8123)
    assert command == [
        "python",
        "-m",
        "benchmarks.apps.http2_alone",
        "--port",
        "8123",
        library,
    ]


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_measures_servers_that_there_are(name: str) -> None:
    suite = SUITES[name]
    assert suite.name == name
    assert suite.servers[0] in ("trioserve", US)
    assert set(suite.servers) <= set(CHOICE)


def test_the_idle_suite_can_set_the_keep_alive_of_its_servers() -> None:
    assert all(SERVERS[name].keep_alive for name in SUITES["idle"].servers)
