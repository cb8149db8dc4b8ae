"""A certificate authority of the lab's own, and server certificates for loopback.

For tests and demos: keys are unencrypted files (0600) in the lab's folder.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from console.clock import Clock, SystemClock
from console.lab.process import Launcher

DAY_S = 86_400.0
LIFETIME_S = 3650 * DAY_S


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    cert_path: Path
    key_path: Path


class CertificateAuthority:
    """Signs server certificates; made in `directory` at first use, read from there afterwards."""

    def __init__(self, directory: Path, launcher: Launcher, *, clock: Clock | None = None) -> None:
        self.directory = launcher.make_dir(directory)
        self._launcher = launcher
        self._clock = clock or SystemClock()
        self.cert_path = directory / "ca.crt"
        self._key_path = directory / "ca.key"
        if not (self.cert_path.exists() and self._key_path.exists()):
            self._create()

    def server_certificate(
        self,
        name: str,
        *,
        addresses: tuple[str, ...] = ("127.0.0.1", "::1"),
        dns_names: tuple[str, ...] = ("localhost",),
        valid_for_s: float = LIFETIME_S,
    ) -> Certificate:
        """Return the certificate of the server `name`, making it when there is none.

        A negative `valid_for_s` gives one that has expired already.
        """
        made = Certificate(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        if made.cert_path.exists() and made.key_path.exists():
            return made
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
        alternatives += [x509.DNSName(dns) for dns in dns_names]
        ca_cert = x509.load_pem_x509_certificate(self.cert_path.read_bytes())
        ca_key = load_pem_private_key(self._key_path.read_bytes(), password=None)
        if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self._key_path} is not a key of ours")
        builder = self._builder(name, key, issuer=ca_cert.subject, valid_for_s=valid_for_s)
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        self._write(made, builder.sign(ca_key, hashes.SHA256()), key)
        return made

    def _create(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pooldeck lab CA")])
        builder = self._builder("Pooldeck lab CA", key, issuer=name, valid_for_s=LIFETIME_S)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self._write(Certificate(self.cert_path, self._key_path), builder.sign(key, hashes.SHA256()), key)

    def _builder(
        self, subject: str, key: ec.EllipticCurvePrivateKey, *, issuer: x509.Name, valid_for_s: float
    ) -> x509.CertificateBuilder:
        now = dt.datetime.fromtimestamp(self._clock.wall_s(), tz=dt.UTC)
        end = now + dt.timedelta(seconds=valid_for_s)
        start = min(now, end) - dt.timedelta(days=1)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
        )

    def _write(
        self, where: Certificate, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> None:
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._launcher.write_file(where.key_path, private)
        self._launcher.write_file(where.cert_path, certificate.public_bytes(Encoding.PEM))
