"""The one sanitizer: text from outside is hostile until it has been through here.

What is kept is kept nearly as it came (``clean_*``); what is shown is made safe on its way out (``shown*``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MAX_NAME = 200
"""The longest name, owner, tag or step, in characters (interface.md, JSON)."""

REPLACEMENT = "\ufffd"

_CONTROL = "\x00-\x1f\x7f-\x9f"
_FORMAT = (  # category Cf, Zl and Zp: bidi controls, zero-width characters, tags, line and paragraph separators
    "\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
_INVISIBLE = (
    "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # letters and marks that draw nothing, so that two names look the same
)
_SURROGATE = "\ud800-\udfff"

_UNSAFE = re.compile(f"[{_CONTROL}{_FORMAT}{_INVISIBLE}{_SURROGATE}]")
_DECEIVING = re.compile(f"[{_INVISIBLE}]")  # what str.isprintable does not tell of
_UNSAFE_IN_JSON = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_FORMAT}{_INVISIBLE}{_SURROGATE}]")
_LOST = re.compile(f"[\x00{_SURROGATE}]")

_JSON_ESCAPE = re.compile(  # a pair of surrogates is one character; a backslash escapes the one after it
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lost>\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2}))|\\."
)

_PICTURES = {code: chr(0x2400 + code) for code in range(0x20)} | {0x09: "    ", 0x7F: "\u2421"}

# From facts/ecosystem.md 1.9: OSC, DCS and the other strings, CSI (also as C1), then every shorter escape.
_ANSI = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[PX^_][^\x1b]*\x1b\\|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]"
)


def clean_name(text: str) -> str:
    """A name, owner, tag or step as it is kept: no control or format characters, NFC, at most 200 characters."""
    if text.isascii() and text.isprintable():
        return text[:MAX_NAME]
    return unicodedata.normalize("NFC", _UNSAFE.sub(REPLACEMENT, text[: 4 * MAX_NAME]))[:MAX_NAME]


def clean_line(text: str, max_bytes: int) -> str:
    """A log line as it is kept: NUL and lone surrogates become U+FFFD.

    A line longer than ``max_bytes`` of UTF-8 is cut on a character's boundary, so that with its mark it fits
    (cleaning twice changes nothing). Called 100,000 times a second: a clean ASCII line costs two scans.
    """
    if text.isascii():
        if "\x00" not in text and len(text) <= max_bytes:
            return text
    elif 4 * len(text) <= max_bytes and not _LOST.search(text):
        return text
    kept = _LOST.sub(REPLACEMENT, text)
    raw = kept.encode()
    return kept if len(raw) <= max_bytes else _cut(raw, max_bytes)


def clean_json(raw: bytes) -> bytes:
    """JSON as it is kept undecoded: in its strings NUL and lone surrogates become U+FFFD."""
    return _JSON_ESCAPE.sub(_kept_escape, raw) if b"\\u" in raw else raw


def _kept_escape(match: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if match["lost"] else match[0]


def _cut(raw: bytes, max_bytes: int) -> str:
    room = max(0, max_bytes - len(f" … [cut {len(raw)} bytes]".encode()))
    kept = raw[:room].decode(errors="ignore")  # only the character that the cut went through is left out
    return f"{kept} … [cut {len(raw) - len(kept.encode())} bytes]"


def shown(text: str, keep_newlines: bool = False) -> str:
    """What may reach a terminal: no character that moves the cursor, hides, reorders or sends.

    C0 controls become their pictures (U+2400 and on), DEL U+2421, a tab four spaces; C1, bidi, zero-width and other
    format characters, separators and surrogates become U+FFFD.
    """
    if text.isprintable() and (text.isascii() or not _DECEIVING.search(text)):
        return text
    if keep_newlines:
        return "\n".join(_UNSAFE.sub(_picture, line) for line in text.split("\n"))
    return _UNSAFE.sub(_picture, text)


def _picture(match: re.Match[str]) -> str:
    return _PICTURES.get(ord(match[0]), REPLACEMENT)


def shown_json(text: str) -> str:
    """Encoded JSON text with the same characters escaped as ``\\uXXXX``: the values stay what they were."""
    if text.isprintable() and (text.isascii() or not _DECEIVING.search(text)):
        return text
    return _UNSAFE_IN_JSON.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def strip_ansi(text: str) -> str:
    """The text without terminal escape sequences: what a program's coloured output says."""
    if "\x1b" not in text and "\x9b" not in text:
        return text
    return _ANSI.sub("", text)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` was probably meant to be, or None."""
    from difflib import get_close_matches  # only on the way to an error message

    if len(word) > 64:  # difflib is quadratic, and nobody mistypes that much
        return None
    by_lower = {each.lower(): each for each in known}
    close = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def hint(word: str, known: Iterable[str]) -> str:
    """``: did you mean 'x'?`` for an error message, or nothing."""
    close = nearest(word, known)
    return f": did you mean '{close}'?" if close else ""


def sentence(text: str) -> str:
    """``text`` with the full stop that it lacks; a question, as ``hint`` asks one, has its mark already."""
    return text if text.endswith((".", "?")) else f"{text}."
