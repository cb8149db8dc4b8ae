"""libpq's TLS settings as what asyncpg takes. Reads certificate files: call it off the event loop."""

from __future__ import annotations

import ssl
from typing import Any, Literal

from console.config.schema import SYSTEM_ROOTS, PostgresNode
from console.errors import NodeError, Phase

TlsArgument = ssl.SSLContext | Literal["disable", "allow", "prefer"]


def wants_tls(node: PostgresNode) -> bool:
    """Say whether TLS is asked for, so that a tunnel must end in a loopback port, not in a Unix socket."""
    return node.sslmode not in (None, "disable")


class _NamedContext(ssl.SSLContext):
    """Verifies a fixed name, whatever address is dialled: what libpq does with `host` beside `hostaddr`."""

    verified_name = ""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """See `ssl.SSLContext.wrap_bio`; asyncio calls it with the name it dialled."""
        return super().wrap_bio(
            incoming, outgoing, server_side, self.verified_name or server_hostname, session
        )


def tls_argument(node: PostgresNode, verified_name: str) -> TlsArgument:
    """Return asyncpg's `ssl` argument.

    As in libpq, `require` with a root certificate verifies it, and None means `prefer`.

    Args:
        node: with its TLS keys.
        verified_name: the name the certificate must carry for `verify-full`.

    Raises:
        NodeError: phase `tls`; a certificate file cannot be read.
    """
    match node.sslmode:
        case "disable" | "allow" | "prefer":
            return node.sslmode
        case None:
            return "prefer"
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verified_name = verified_name
    verifies = node.sslmode != "require" or node.sslrootcert is not None
    context.check_hostname = node.sslmode == "verify-full"
    context.verify_mode = ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE
    _load(node, context, verifies)
    return context


def _load(node: PostgresNode, context: ssl.SSLContext, verifies: bool) -> None:
    file: Any = node.sslrootcert
    try:
        if verifies and node.sslrootcert == SYSTEM_ROOTS:
            context.load_default_certs()
        elif verifies:
            if node.sslrootcert is None:
                raise NodeError(
                    Phase.TLS,
                    f'sslmode = "{node.sslmode}" needs the certificate of the authority to check against',
                    where=node.name,
                    hint="set sslrootcert",
                )
            context.load_verify_locations(cafile=node.sslrootcert)
        file = node.sslcert
        if node.sslcert is not None:
            # An empty password, so that an encrypted key fails instead of asking on the terminal.
            context.load_cert_chain(node.sslcert, node.sslkey, password="")
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NodeError(
            Phase.TLS,
            f"{file} cannot be used: {reason}",
            where=node.name,
            hint="check sslrootcert, sslcert and sslkey of this node",
        ) from None
