# SPDX-License-Identifier: MIT
"""TCP addresses become listening sockets: all or none."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.listeners.conftest import Connect, OpenOne, Options, dial
from trioserve.addresses import BoundAddress
from trioserve.errors import BindError, ConfigError
from trioserve.listeners import binding, open_listeners


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")


@attrs.define
class Names(trio.abc.HostnameResolver):
    """A resolver with names of the test's own; any other waits for an answer for ever."""

    names: dict[str, list[str]]

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:  # trio spells its tuples in another way each release
        assert host is not None
        assert isinstance(port, int)
        name = host.decode()
        if name not in self.names:
            await trio.sleep_forever()
        if not self.names[name]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found: list[Any] = []
        for address in self.names[name]:
            found += socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
        return found

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int
    ) -> tuple[str, str]:
        raise NotImplementedError


@pytest.fixture
async def names() -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    trio.socket.set_custom_hostname_resolver(Names(names))
    return names


async def test_port_0_gives_the_real_port(open_one: OpenOne, connect: Connect) -> None:
    async with open_one() as listener:
        assert listener.address.host == "127.0.0.1"
        assert listener.address.port == listener.socket.getsockname()[1] != 0
        assert listener.socket.gettimeout() == 0
        assert not listener.socket.get_inheritable()
        assert listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        connect(listener)


async def test_the_scheme_is_shown_in_the_url() -> None:
    async with open_listeners(Options(), scheme="https") as (listener,):
        assert listener.address.url == f"https://127.0.0.1:{listener.address.port}"


@needs_ipv6
async def test_an_ipv6_address_is_bound_for_ipv6_only(open_one: OpenOne, connect: Connect) -> None:
    async with open_one(Options(bind=("[::]:0",))) as listener:
        assert listener.address.url == f"http://[::]:{listener.address.port}"
        assert listener.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        connect(listener)
        with pytest.raises(ConnectionRefusedError):
            dial(BoundAddress("tcp", "127.0.0.1", listener.address.port))


@needs_ipv6
async def test_no_host_is_all_interfaces_of_both_families_on_one_port(connect: Connect) -> None:
    async with open_listeners(Options(bind=(":0",))) as (v4, v6):
        assert (v4.address.host, v6.address.host) == ("0.0.0.0", "::")
        assert v4.address.port == v6.address.port
        connect(v4)
        connect(v6)


async def test_a_name_is_bound_on_all_its_addresses_once_with_one_port(
    names: dict[str, list[str]], connect: Connect
) -> None:
    names["two.test"] = ["127.0.0.1", "127.0.0.2", "127.0.0.1"]
    async with open_listeners(Options(bind=("two.test:0",))) as listeners:
        assert [listener.address.host for listener in listeners] == ["127.0.0.1", "127.0.0.2"]
        assert len({listener.address.port for listener in listeners}) == 1
        for listener in listeners:
            connect(listener)


async def test_a_free_port_that_is_taken_on_another_address_is_followed_by_another_try(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names["two.test"] = ["127.0.0.1", "127.0.0.2"]
    make, asked = binding._tcp_socket, []

    def unlucky_once(target: binding._Target, backlog: int, *, reuse_port: bool) -> socket.socket:
        asked.append(target.sockaddr)
        if len(asked) == 2:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return make(target, backlog, reuse_port=reuse_port)

    monkeypatch.setattr(binding, "_tcp_socket", unlucky_once)
    async with open_listeners(Options(bind=("two.test:0",))) as (first, second):
        assert asked[2] == ("127.0.0.1", 0)
        assert first.address.port == second.address.port


async def test_a_port_that_is_never_free_on_all_addresses_is_a_bind_error(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names["two.test"] = ["127.0.0.1", "127.0.0.2"]
    make = binding._tcp_socket

    def unlucky(target: binding._Target, backlog: int, *, reuse_port: bool) -> socket.socket:
        if target.sockaddr[0] == "127.0.0.2":
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return make(target, backlog, reuse_port=reuse_port)

    monkeypatch.setattr(binding, "_tcp_socket", unlucky)
    with pytest.raises(BindError, match="choose another port"):
        async with open_listeners(Options(bind=("two.test:0",))):
            pass


async def test_of_a_names_addresses_those_this_machine_does_not_have_are_left_out(
    names: dict[str, list[str]],
) -> None:
    names["mixed.test"] = ["203.0.113.1", "127.0.0.1"]  # RFC 5737: nobody has the first
    async with open_listeners(Options(bind=("mixed.test:0",))) as (listener,):
        assert listener.address.host == "127.0.0.1"


@pytest.mark.parametrize("addresses", [["203.0.113.1"], ["203.0.113.1", "203.0.113.2"]])
async def test_a_name_of_which_this_machine_has_no_address_is_a_bind_error(
    names: dict[str, list[str]], addresses: list[str]
) -> None:
    names["foreign.test"] = addresses
    with pytest.raises(
        BindError, match=r"foreign\.test:0 \(203\.0\.113\..:0\): this machine has no"
    ):
        async with open_listeners(Options(bind=("foreign.test:0",))):
            pass


async def test_a_name_that_does_not_resolve_is_a_bind_error(names: dict[str, list[str]]) -> None:
    names["nowhere.test"] = []
    with pytest.raises(BindError, match=r"nowhere\.test:80: the name does not resolve \(Name or"):
        async with open_listeners(Options(bind=("nowhere.test:80",))):
            pass


async def test_a_taken_port_is_a_bind_error_and_frees_what_was_bound_before(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(BindError, match=rf"^can't bind {taken}: another process.*listens"):
            async with open_listeners(Options(bind=(f"127.0.0.1:{free_port}", taken))):
                pass
    with pytest.raises(ConnectionRefusedError):
        dial(BoundAddress("tcp", "127.0.0.1", free_port))


async def test_a_low_port_without_the_right_to_it_is_a_bind_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: socket.socket, address: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(BindError, match=r"127\.0\.0\.1:80: permission denied; ports below 1024"):
        async with open_listeners(Options(bind=("127.0.0.1:80",))):
            pass


async def test_an_error_nobody_foresaw_is_given_in_the_systems_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: socket.socket, address: Any) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(BindError, match=r"127\.0\.0\.1:80: Cannot allocate memory") as caught:
        async with open_listeners(Options(bind=("127.0.0.1:80",))):
            pass
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_malformed_address_is_a_config_error_before_anything_is_bound(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding, "_tcp_socket", None)
    with pytest.raises(ConfigError, match="a number alone"):
        async with open_listeners(Options(bind=(f"127.0.0.1:{free_port}", "8000"))):
            pass


async def test_cancelled_while_a_name_is_resolved_nothing_stays_bound(
    names: dict[str, list[str]], free_port: int
) -> None:
    async def bind() -> None:
        async with open_listeners(Options(bind=(f"127.0.0.1:{free_port}", "slow.test:80"))):
            raise AssertionError("the name never resolves")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bind)
        await wait_all_tasks_blocked()
        dial(BoundAddress("tcp", "127.0.0.1", free_port)).close()
        nursery.cancel_scope.cancel()
    with pytest.raises(ConnectionRefusedError):
        dial(BoundAddress("tcp", "127.0.0.1", free_port))


async def test_an_error_inside_closes_all_sockets() -> None:
    with pytest.raises(LookupError):
        async with open_listeners(Options(bind=("127.0.0.1:0",) * 2)) as listeners:
            raise LookupError
    assert [listener.socket.fileno() for listener in listeners] == [-1, -1]


async def test_an_inherited_socket_of_an_address_that_is_not_wanted_any_more_is_closed(
    free_port: int,
) -> None:
    with socket.socket() as old:
        old.bind(("127.0.0.1", 0))
        old.listen()
        fd, port = os.dup(old.fileno()), old.getsockname()[1]
        inherited = {(f"127.0.0.1:{port}", "http"): [fd]}
        async with open_listeners(Options(bind=(f"127.0.0.1:{free_port}",)), inherited=inherited):
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)
