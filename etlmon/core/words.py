"""What a word is in a log line, the same for the index, for lines not yet indexed and for live filters. Pure.

A word is a run of letters and digits, in any case and without accents, as in SQLite's unicode61 tokenizer.
The folding is done here and the index keeps what it is given, so that index and scan cannot disagree about a
character that one of them knows from a newer Unicode.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W_]+")
_MOST_WORDS = 32
"""Enough to choose the chunks by; each line is looked at in any case. FTS5 refuses expressions that are too deep."""
_ACCENTS = re.compile("[\u0300-\u036f]+")


def fold(text: str) -> str:
    """``text`` without case and accents; never longer words for being beside others (context-free)."""
    if text.isascii():
        return text.lower()
    return _ACCENTS.sub("", unicodedata.normalize("NFD", text.casefold()))


def words_of(text: str) -> list[str]:
    """The distinct words of ``text``, folded, in order of their first place."""
    return list(dict.fromkeys(_WORD.findall(fold(text))))


def has_words(message: str, words: Iterable[str]) -> bool:
    """Whether each of ``words`` (as ``words_of`` gives them) is a whole word of ``message``."""
    folded = fold(message)
    if not all(word in folded for word in words):
        return False
    return set(_WORD.findall(folded)).issuperset(words)


def index_text(messages: Sequence[str]) -> str:
    """What the index is fed for ``messages``: FTS5's ascii tokenizer splits it into exactly their words.

    ASCII goes as it is (the tokenizer is C and holds no lock of ours); only what is not is split here.
    """
    text = " ".join(messages)
    if text.isascii():
        return text
    return " ".join(part if part.isascii() else " ".join(words_of(part)) for part in text.split(" "))


def match_expression(words: Sequence[str]) -> str:
    """The FTS5 query for all of ``words``, or of very many the longest; quoted: AND, NEAR and NOT are words too."""
    return " AND ".join(f'"{word}"' for word in sorted(words, key=len, reverse=True)[:_MOST_WORDS])
