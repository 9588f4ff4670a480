"""Whether nginx accepts a password for a hash: ngx_crypt, over the same C library. Pure.

Source: nginx 1.22, src/core/ngx_crypt.c and ngx_string.c. As there, texts end at the first zero
byte.
"""

import base64
import binascii
import ctypes
import hashlib
import hmac
import re

# Unlike Python's module, it does not hold Python's lock while it computes.
_libcrypt = ctypes.CDLL("libcrypt.so.1").crypt_r
_libcrypt.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_libcrypt.restype = ctypes.c_char_p
_CRYPT_DATA = 32768  # bytes of struct crypt_data

_LETTERS = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_APR1 = b"$apr1$"
_MOST_SALT = 8
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*")


def accepts(line_hash: bytes, secret: bytes) -> bool:
    """True if nginx accepts `secret` for that hash; slow hashes take their time."""
    line_hash, secret = (text.split(b"\0", 1)[0] for text in (line_hash, secret))
    return hmac.compare_digest(_crypt(secret, line_hash), line_hash)


def decode_base64(text: bytes) -> bytes | None:
    """The bytes as nginx decodes them: up to the first "="; None if they are not Base64."""
    text = text.split(b"=", 1)[0]
    if not _BASE64.fullmatch(text) or len(text) % 4 == 1:
        return None
    return binascii.a2b_base64(text + b"=" * (-len(text) % 4))


def _crypt(secret: bytes, salt: bytes) -> bytes:
    if salt.startswith(_APR1):
        return _apr1(secret, salt.removeprefix(_APR1).split(b"$", 1)[0][:_MOST_SALT])
    if salt.startswith(b"{PLAIN}"):
        return b"{PLAIN}" + secret
    if salt.startswith(b"{SSHA}"):
        mixed_in = (decode_base64(salt.removeprefix(b"{SSHA}")) or b"")[20:]
        mixed = hashlib.sha1(secret + mixed_in).digest()  # noqa: S324  (the format)
        return b"{SSHA}" + base64.b64encode(mixed + mixed_in)
    if salt.startswith(b"{SHA}"):
        return b"{SHA}" + base64.b64encode(hashlib.sha1(secret).digest())  # noqa: S324
    data = ctypes.create_string_buffer(_CRYPT_DATA)
    # Not NULL, nor the same text, for a hash that it does not know.
    return bytes(_libcrypt(secret, salt, data))


def _apr1(secret: bytes, salt: bytes) -> bytes:
    """Apache's variant of the MD5 crypt of Poul-Henning Kamp."""
    inner = _md5(secret + salt + secret)
    first = secret + _APR1 + salt + (inner * (len(secret) // 16 + 1))[: len(secret)]
    bits = len(secret)
    while bits:
        first += b"\0" if bits & 1 else secret[:1]
        bits >>= 1
    mixed = _md5(first)
    for turn in range(1000):
        mixed = _md5(
            (secret if turn & 1 else mixed)
            + (salt if turn % 3 else b"")
            + (secret if turn % 7 else b"")
            + (mixed if turn & 1 else secret)
        )
    order = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))
    numbers = [(mixed[a] << 16 | mixed[b] << 8 | mixed[c], 4) for a, b, c in order]
    text = b"".join(_letters(*one) for one in (*numbers, (mixed[11], 2)))
    return _APR1 + salt + b"$" + text


def _letters(number: int, count: int) -> bytes:
    return bytes(_LETTERS[number >> 6 * place & 0x3F] for place in range(count))


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data).digest()  # noqa: S324  (the format)
