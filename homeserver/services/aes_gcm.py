"""AES-256-GCM, and keys derived for it, with the library that does it loaded when first needed.

The library is large, and a server that stores no media never needs it.
"""

from __future__ import annotations

NONCE_BYTES = 12
TAG_BYTES = 16
KEY_BYTES = 32


class NotEncryptedSo(ValueError):
    """What was to be decrypted is not as it was encrypted, or was so with another key."""


class AesGcm:
    """A cipher with one key (32 bytes).  A nonce (12 bytes) is used once with it."""

    __slots__ = ("_cipher", "_invalid")

    def __init__(self, key: bytes) -> None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(key)
        self._invalid = InvalidTag

    def encrypt(
        self, nonce: bytes, content: bytes | bytearray | memoryview, associated: bytes | None
    ) -> bytes:
        """What is encrypted, and 16 bytes that tell whether it or ``associated`` was changed."""
        return self._cipher.encrypt(nonce, content, associated)

    def decrypt(self, nonce: bytes, sealed: bytes, associated: bytes | None) -> bytes:
        """The content again.  Raises :class:`NotEncryptedSo`."""
        try:
            return self._cipher.decrypt(nonce, sealed, associated)
        except (self._invalid, ValueError) as error:
            raise NotEncryptedSo("it is not what was encrypted with this key") from error


def derived_cipher(secret: bytes, salt: bytes, purpose: bytes) -> AesGcm:
    """A cipher whose key is derived by HKDF-SHA-256 (RFC 5869)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return AesGcm(HKDF(SHA256(), KEY_BYTES, salt, purpose).derive(secret))
