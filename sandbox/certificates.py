"""
A certificate authority of its own for the sandbox's TLS, and a server certificate for loopback.

Trust it through `SSL_CERT_FILE`: OpenSSL reads that variable when a context is made. aiohttp
makes its default context while it is imported, so the variable must stand in the environment
when a process starts; in a process that has imported aiohttp already, hand its connector
`trusting_context(ca_file)`.
"""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# TLS clients judge by the machine's clock, which is not the world's: valid for all of our time.
NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
NOT_AFTER = datetime(2049, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of one authority and its one server."""

    ca_file: Path
    """Every authority that the machine trusts, and ours: fit for `SSL_CERT_FILE`."""
    server_file: Path
    """Certificate and private key of the server."""

    def server_context(self) -> ssl.SSLContext:
        """A context to serve with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server_file)
        return context


def make_certificates(folder: Path) -> Certificates:
    """Make a new authority and a server certificate for 127.0.0.1 and localhost in `folder`."""
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, server_name = _name("jvb-autoscaler sandbox authority"), _name("localhost")
    ca = _authority(ca_name, ca_key)
    server = _server(server_name, server_key, ca_name, ca_key)
    certificates = Certificates(folder / "trusted.pem", folder / "server.pem")
    certificates.ca_file.write_bytes(_pem(ca) + _machine_authorities())
    certificates.server_file.touch(mode=0o600)
    certificates.server_file.write_bytes(_key_pem(server_key) + _pem(server))
    return certificates


def trusting_context(ca_file: Path) -> ssl.SSLContext:
    """A client context that trusts the authorities in `ca_file` and no others."""
    return ssl.create_default_context(cafile=str(ca_file))


def _authority(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        _builder(name, key, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def _server(
    name: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    ca_name: x509.Name,
    ca_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
    return (
        _builder(name, key, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    name: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.CertificateBuilder:
    """What both kinds of certificate have; Python 3.13 insists on the key identifiers."""
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _machine_authorities() -> bytes:
    """The machine's own bundle, so that `SSL_CERT_FILE` adds an authority and takes none away."""
    bundle = ssl.get_default_verify_paths().cafile
    return Path(bundle).read_bytes() if bundle else b""
