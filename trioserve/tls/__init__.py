# SPDX-License-Identifier: MIT
"""TLS: from certificate files to a stream that speaks it.

==============  ===================================================================
``contexts``    from the settings to SSLContexts, or to one error that says why not
``files``       reads what the contexts are made of, and says what is wrong with it
``names``       which of them a client asks for
``handshake``   one task's work, from an accepted stream to a TlsStream, contained
``stream``      TLS over any Trio stream
``subjects``    who a client's certificate names
==============  ===================================================================

No task is started here.
"""

from __future__ import annotations

from trioserve.tls.contexts import TlsContexts, open_contexts
from trioserve.tls.handshake import Handshake
from trioserve.tls.stream import TlsStream
from trioserve.tls.subjects import subject_name

__all__ = [
    "Handshake",
    "TlsContexts",
    "TlsStream",
    "open_contexts",
    "subject_name",
]
