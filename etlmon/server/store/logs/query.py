"""What is asked of the logs, and the answer's shape; and which lines of a body answer it."""

from __future__ import annotations

import itertools
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import msgspec
import re2

from etlmon.core.errors import Fault, Invalid
from etlmon.core.job import LogLine
from etlmon.core.words import has_words, words_of
from etlmon.server.store.logs.columns import Body, job_key

MAX_SEQ = 2**63 - 1
_RE2_MEMORY = 8 << 20
"""Bytes that one compiled pattern may use (RE2's own default)."""

_EDGES = re.compile(r"\\[AzZQ]|\(\?[a-zA-Z]*-")


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines: every part that is not None must hold.

    ``job_ids``: of these jobs. ``level``: this number and above. ``words``: each of its words is in the message
    (whole words, any case, accents ignored). ``contains``: this text is in the message (any case). ``regex``: RE2
    finds it in the message (case counts; ``(?i)`` to ignore it). ``since`` ≤ ``at`` < ``until`` (instants, ms).
    ``after_seq`` < seq < ``before_seq``. The page has at most ``limit`` lines, in ``seq`` order or descending;
    with ``tail`` it has the last ``tail`` that match, in ``seq`` order.
    """

    job_ids: frozenset[str] | None = None
    level: int | None = None
    words: str | None = None
    contains: str | None = None
    regex: str | None = None
    since: int | None = None
    until: int | None = None
    after_seq: int | None = None
    before_seq: int | None = None
    limit: int = 100
    descending: bool = False
    tail: int | None = None

    def resumed(self, cursor: str) -> LogQuery:
        """This query, going on where the page with ``next == cursor`` ended."""
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 20):
            raise Invalid("The cursor is not one of this server's.", errors=(Fault("cursor", "not a log cursor"),))
        place = int(cursor)
        if self.backwards:
            return msgspec.structs.replace(self, before_seq=place)
        return msgspec.structs.replace(self, after_seq=place)

    @property
    def backwards(self) -> bool:
        """Whether the search goes from the newest line to the oldest."""
        return self.descending or self.tail is not None


class LogPage(msgspec.Struct, frozen=True):
    """Lines that match, and the cursor of what follows; None when nothing more was there.

    A page may be short, even empty, and still have ``next``: the search stopped at its deadline and goes on there.
    """

    lines: list[LogLine]
    next: str | None


class Matcher:
    """A query made ready: what can be told of a whole body, then which of its lines match."""

    def __init__(self, query: LogQuery) -> None:
        self.query = query
        self.words = _words(query.words)
        self.keys = None if query.job_ids is None else frozenset(map(job_key, query.job_ids))
        self._needle = None if query.contains is None else query.contains.casefold()
        self._regex = _pattern(query.regex)
        self._sieve = _sieve(query.regex)
        self._plain_needles = [n.encode() for n in (*self.words, self._needle or "") if n.isascii() and n]
        self._needs_more = any(not n.isascii() for n in (*self.words, self._needle or ""))

    def may_hold(self, grave: int, first_at: int, last_at: int) -> bool:
        """Whether lines of at most level ``grave``, between these instants, can match."""
        q = self.query
        return (
            (q.level is None or grave >= q.level)
            and (q.since is None or last_at >= q.since)
            and (q.until is None or first_at < q.until)
        )

    def concerns(self, jobs: bytes) -> bool:
        """Whether a block of the jobs with these keys (4 bytes each) can match."""
        return self.keys is None or not self.keys.isdisjoint(array("I", jobs))

    def may_match(self, body: Body) -> bool:
        """Whether some line of ``body`` can match, from what is quickly seen; True when in doubt."""
        if body.plain:
            if self._needs_more:
                return False
            if self._plain_needles:
                packed = body.packed.lower()
                if not all(needle in packed for needle in self._plain_needles):
                    return False
        if self._sieve is not None and len(body.messages) > 1:
            return self._sieve.search("\n".join(body.messages).encode()) is not None
        return True

    def places(self, body: Body, low: int, high: int, most: int) -> list[int]:
        """Where the first ``most`` matches with low < seq < high stand in ``body``, in the query's direction."""
        span: Iterable[int] = range(bisect_right(body.seqs, low), bisect_left(body.seqs, high))
        if self.query.backwards:
            span = reversed(span)  # type: ignore[call-overload]
        return list(itertools.islice(self._by_text(body, self._by_columns(body, span)), most))

    def _by_columns(self, body: Body, span: Iterable[int]) -> Iterable[int]:
        q = self.query
        if q.job_ids is not None:
            wanted = {number for number, context in enumerate(body.contexts) if context[0] in q.job_ids}
            if len(wanted) < len(body.contexts):
                which = body.which
                span = (i for i in span if which[i] in wanted)
        if q.level is not None:
            levels, level = body.levels, q.level
            span = (i for i in span if levels[i] >= level)
        if q.since is not None or q.until is not None:
            ats = body.ats
            since = q.since if q.since is not None else -MAX_SEQ
            until = q.until if q.until is not None else MAX_SEQ
            span = (i for i in span if since <= ats[i] < until)
        return span

    def _by_text(self, body: Body, span: Iterable[int]) -> Iterable[int]:
        if self._needle is not None:
            needle, messages = self._needle, body.messages
            span = (i for i in span if needle in messages[i].casefold())
        if self.words:
            words, messages = self.words, body.messages
            span = (i for i in span if has_words(messages[i], words))
        if self._regex is not None:
            found, messages = self._regex.search, body.messages
            span = (i for i in span if found(messages[i].encode()) is not None)
        return span


def _words(text: str | None) -> list[str]:
    if text is None:
        return []
    words = words_of(text)
    if not words:
        raise Invalid(
            "The word search has no letter or digit in it: use contains for other text.",
            errors=(Fault("q", "no word in it"),),
        )
    return words


def _pattern(regex: str | None) -> re2._Regexp | None:
    if regex is None:
        return None
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _RE2_MEMORY
    try:
        return re2.compile(regex.encode(), options)
    except (re2.error, UnicodeEncodeError) as fault:
        raise Invalid(
            f"The regular expression is not one that RE2 reads: {_reason(fault)}.",
            errors=(Fault("regex", _reason(fault)),),
        ) from fault


def _sieve(regex: str | None) -> re2._Regexp | None:
    """A pattern that matches in lines joined by newlines wherever ``regex`` matches in one of them, and perhaps
    elsewhere; None when that cannot be had: where text ends is then told apart from where a line does."""
    if regex is None or _EDGES.search(regex) is not None:
        return None
    return _pattern(f"(?m:{regex})")


def _reason(fault: Exception) -> str:
    reason = fault.args[0] if fault.args else fault
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
