"""A certificate authority for the tests of TLS."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


class Authority:
    """Issues certificates into a directory; `certificate` is its own, for trust."""

    def __init__(self, directory: Path, name: str = "test authority") -> None:
        self.directory = directory
        self.certificate = directory / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        own = self._build(self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        own = own.add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
                key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )  # fmt: skip
        self.certificate.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, host: str, days: int = 1) -> tuple[Path, Path]:
        """Paths of a certificate for a host name (or address) and of its key; it is good for so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.DNSName(host) if not host[0].isdigit() else x509.IPAddress(ipaddress.ip_address(host))
        certificate = self._build(_name(host), key.public_key(), days).add_extension(
            x509.SubjectAlternativeName([alternative]), critical=False
        )
        cert_path, key_path = self.directory / f"{host}.pem", self.directory / f"{host}.key"
        cert_path.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        key_path.touch(0o600)
        key_path.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return cert_path, key_path

    def revoke(self, certificate: Path) -> Path:
        """Path of a list that revokes the certificate."""
        now = datetime.datetime.now(datetime.UTC)
        revoked = x509.RevokedCertificateBuilder().revocation_date(now - _DAY)
        revoked = revoked.serial_number(x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name).last_update(now - _DAY).next_update(now + _DAY)
        path = self.directory / "revoked.pem"
        signed = builder.add_revoked_certificate(revoked.build()).sign(self._key, hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return path

    def _build(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int = 1) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - 9 * _DAY,
            not_valid_after=now + days * _DAY,
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
