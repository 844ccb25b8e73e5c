"""The listening socket: where it may be, whether it is free, its TLS, and the URL that leads to it."""

from __future__ import annotations

import errno
import resource
import socket
import ssl
from typing import TYPE_CHECKING

from etlmon.core.errors import EtlmonError

if TYPE_CHECKING:
    from etlmon.core.config import Server

WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104  # recognised in a URL, not bound


def bind(server: Server, port: int) -> socket.socket:
    """The bound socket, not yet listening: a taken port is known before anything else is done."""
    try:
        found = socket.getaddrinfo(server.host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as fault:
        raise EtlmonError(f"server.host {server.host!r} is not an address of this machine: {fault.strerror}.") from None
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.setblocking(False)
    except OSError as fault:
        sock.close()
        raise EtlmonError(_why(fault, server.host, port)) from None
    return sock


def _why(fault: OSError, host: str, port: int) -> str:
    place = f"port {port} of {host}"
    match fault.errno:
        case errno.EADDRINUSE:
            return f"Something else already listens at {place}: stop it, or choose another port with --port."
        case errno.EACCES:
            return f"This user may not listen at {place}: choose a port above 1023 with --port."
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine: change server.host."
    return f"Cannot listen at {place}: {fault.strerror}."


def tls_context(server: Server) -> ssl.SSLContext | None:
    """TLS by certificate and key; None when neither is set."""
    if not server.tls_cert and not server.tls_key:
        return None
    if not server.tls_cert or not server.tls_key:
        raise EtlmonError("server.tls_cert and server.tls_key belong together: set both, or neither.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(server.tls_cert, server.tls_key)
    except (OSError, ssl.SSLError) as fault:
        raise EtlmonError(f"server.tls_cert and server.tls_key cannot be used: {fault}.") from None
    return context


def url_of(server: Server, sock: socket.socket) -> str:
    """The URL by which programs of this machine reach the bound socket."""
    scheme = "https" if server.tls_cert else "http"
    if server.public_url and scheme == "https":
        return server.public_url.rstrip("/")  # the certificate is made out to that name
    host, port = sock.getsockname()[:2]
    if host in WILDCARDS:
        host = "127.0.0.1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def raise_file_limit(wanted: int) -> None:
    """Let this process hold as many sockets as it may serve, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < ceiling:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
