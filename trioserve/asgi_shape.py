# SPDX-License-Identifier: MIT
"""Does a callable have the shape of an ASGI 3 application? Pure inspection: nothing is called.

==============================================  ==========================================
it takes                                        it is
==============================================  ==========================================
three arguments                                 an ASGI 3 application (ASGI spec, "Applications")
none (more may have defaults)                   a factory: --factory is missing
(environ, start_response)                       a WSGI application (PEP 3333)
one; not async                                  an ASGI 2 double callable: scope, then the rest
anything else                                   no application
==============================================  ==========================================
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

__all__ = ["complaint_about"]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def complaint_about(app: Any, *, made_by_factory: bool = False) -> str | None:
    """Return why this can't be served as an ASGI application, and what to do; None if it can."""
    if not callable(app):
        origin = "the factory returned" if made_by_factory else "it is"
        return f"expected an ASGI application, {origin} {_described(app)}, which can't be called"
    signature = _signature(app)
    if signature is None:
        return None  # written in C, or hides it: the first call will tell
    # A class whose calls need three arguments makes an awaitable of them (as Starlette's
    # HTTPEndpoint); one that takes none is to be instantiated first, whatever its __call__ is.
    if _takes(signature, 3) and not (inspect.isclass(app) and _takes(signature, 0)):
        return None
    if _takes(signature, 0):
        return _looks_like_a_factory(app, made_by_factory)
    if _takes(signature, 2) and _is_wsgi(signature):
        return "it is a WSGI application (environ, start_response); only ASGI is served so far"
    if _takes(signature, 1) and not _is_async(app):
        return (
            "it takes one argument, as ASGI 2 applications do (scope, then receive and send); "
            "ASGI 3 is needed: async def app(scope, receive, send)"
        )
    return (
        f"it is called as {_named(app)}{_shown(signature)}; "
        "an ASGI application takes (scope, receive, send)"
    )


def _looks_like_a_factory(app: Any, made_by_factory: bool) -> str:
    if made_by_factory:
        return f"the factory returned {_named(app)}, which takes no arguments: a factory again?"
    if _is_async(app):
        return (
            "it is async and takes no arguments; an ASGI application takes (scope, receive, send)"
        )
    what = "class" if inspect.isclass(app) else "callable"
    return f"it is a {what} that needs no arguments; if it makes the application, add --factory"


def _signature(app: Any) -> inspect.Signature | None:
    try:
        if sys.version_info >= (3, 14):
            import annotationlib

            # PEP 649: the default format evaluates annotations, and names may be undefined.
            return inspect.signature(app, annotation_format=annotationlib.Format.STRING)
        return inspect.signature(app)
    except (ValueError, TypeError):
        return None


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _is_wsgi(signature: inspect.Signature) -> bool:
    names = [p.name for p in signature.parameters.values() if p.kind in _POSITIONAL]
    return names[:1] != [] and (names[0].startswith("env") or names[1:2] == ["start_response"])


def _is_async(app: Any) -> bool:
    return inspect.iscoroutinefunction(app) or (
        not inspect.isclass(app) and inspect.iscoroutinefunction(type(app).__call__)
    )


def _shown(signature: inspect.Signature) -> str:
    return f"({', '.join(signature.parameters)})"


def _named(app: Any) -> str:
    return getattr(app, "__name__", None) or type(app).__name__


def _described(value: Any) -> str:
    return "None" if value is None else f"an object of {type(value).__name__}"
