"""Can this private key be used to log in over SSH? Asked before it is sealed; the answer never shows any of it."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

MIN_RSA_BITS = 2_048


def why_no_private_key(text: str, passphrase: str | None) -> str | None:
    """Why `text` is no usable private key, opened with `passphrase`; None when it is one. May block for a second (bcrypt)."""
    raw, secret = text.encode(), passphrase.encode() if passphrase else None
    if "-----BEGIN " not in text:
        return "must be a private key in OpenSSH or PEM form"
    load = serialization.load_ssh_private_key if "OPENSSH PRIVATE KEY" in text else serialization.load_pem_private_key
    try:
        key = load(raw, secret)
    except TypeError:
        return "is encrypted; a passphrase is needed" if secret is None else "is not encrypted; leave the passphrase out"
    except (ValueError, UnsupportedAlgorithm):
        return "cannot be read" if secret is None else "cannot be read with this passphrase"
    if isinstance(key, rsa.RSAPrivateKey):
        return None if key.key_size >= MIN_RSA_BITS else f"an RSA key must have at least {MIN_RSA_BITS} bits"
    if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        return "must be an Ed25519, ECDSA or RSA key"
    return None
