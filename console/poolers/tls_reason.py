"""Finds out why a certificate was not accepted: libpq says only `certificate verify failed`.

One more handshake, by Python's own TLS, up to the point where the certificate is refused. It sends no
login and no password, and decides nothing: the connection has already failed when it is asked.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from typing import Final

_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)
"""PostgreSQL's manual, "Message Formats": SSLRequest."""


async def refused_because(host: str, port: int, *, root_cert: str, limit_s: float) -> str | None:
    """Return OpenSSL's reason, e.g. `certificate has expired`; None when none was found in `limit_s`.

    Args:
        host: the address to dial.
        port: its port.
        root_cert: the file of trusted authorities; `system` for the system's own.
        limit_s: for all of it.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(limit_s):
            context = ssl.create_default_context(cafile=None if root_cert == "system" else root_cert)
            # The name is not what failed: libpq tells that by itself. Nor is it as strict as Python 3.13.
            context.check_hostname = False
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(_SSL_REQUEST)
            if await reader.readexactly(1) != b"S":
                return None
            await writer.start_tls(context)
    except ssl.SSLCertVerificationError as refused:
        return str(refused.verify_message)
    except (OSError, EOFError, TimeoutError):
        return None
    finally:
        if writer is not None:
            writer.transport.abort()
    return None
