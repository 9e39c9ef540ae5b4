# SPDX-License-Identifier: MIT
"""Which callables pass for an ASGI application, and what is said of those that don't."""

from __future__ import annotations

from functools import partial, wraps
from typing import Any

import pytest
from fastapi import FastAPI
from quart_trio import QuartTrio
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware.gzip import GZipMiddleware

from trioserve.asgi_shape import complaint_about


async def asgi_function(scope: Any, receive: Any, send: Any) -> None: ...


async def with_extra(extra: Any, scope: Any, receive: Any, send: Any) -> None: ...


def plain_function(scope: Any, receive: Any, send: Any) -> Any:
    return asgi_function(scope, receive, send)


@wraps(asgi_function)
def decorated(*args: Any) -> Any:
    return asgi_function(*args)


def takes_anything(*args: Any, **kwargs: Any) -> Any:
    return asgi_function(*args, **kwargs)


class AsgiInstance:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def method(self, scope: Any, receive: Any, send: Any) -> None: ...


class Asgi2Class:
    def __init__(self, scope: Any) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None: ...


def asgi2_function(scope: Any) -> Any: ...


def wsgi_function(environ: Any, start_response: Any) -> Any: ...


class WsgiInstance:
    def __call__(self, env: Any, start: Any) -> Any: ...


def make_app(debug: bool = False) -> Any: ...


async def make_app_async() -> Any: ...


async def handler(request: Any) -> Any: ...


@pytest.mark.parametrize(
    "app",
    [
        asgi_function,
        plain_function,
        decorated,
        takes_anything,
        AsgiInstance(),
        AsgiInstance().method,
        partial(with_extra, object()),
        partial(AsgiInstance()),
        Starlette(),
        FastAPI(),
        QuartTrio(__name__),
        GZipMiddleware(asgi_function),
        HTTPEndpoint,  # a class whose instances are awaited
        dict,  # has no signature: its first call will tell
    ],
)
def test_an_asgi_3_application_in_any_shape_passes(app: Any) -> None:
    assert complaint_about(app) is None


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (None, "expected an ASGI application, it is None, which can't be called"),
        ("app", "it is an object of str, which can't be called"),
        (Asgi2Class, "takes one argument, as ASGI 2 applications do"),
        (asgi2_function, "ASGI 3 is needed: async def app(scope, receive, send)"),
        (wsgi_function, "it is a WSGI application (environ, start_response); only ASGI is served"),
        (WsgiInstance(), "it is a WSGI application"),
        (make_app, "it is a callable that needs no arguments; if it makes the application, add"),
        (AsgiInstance, "it is a class that needs no arguments"),
        (Starlette, "it is a class that needs no arguments"),
        (make_app_async, "it is async and takes no arguments"),
        (handler, "it is called as handler(request); an ASGI application takes (scope, receive"),
        (with_extra, "it is called as with_extra(extra, scope, receive, send)"),
    ],
)
def test_anything_else_is_told_what_it_is(app: Any, words: str) -> None:
    assert words in (complaint_about(app) or "")


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (None, "the factory returned None, which can't be called"),
        (make_app, "the factory returned make_app, which takes no arguments: a factory again?"),
    ],
)
def test_what_a_factory_made_is_named_as_such(app: Any, words: str) -> None:
    assert words in (complaint_about(app, made_by_factory=True) or "")
