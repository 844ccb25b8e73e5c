"""The one filter grammar: text → tree. Bounded in size and depth, and every fault names its column.

or     = and ("OR" and)*
and    = not ("AND"? not)*                        OR binds weakest, as in logic
not    = ("-" | "NOT") not | "(" or? ")" | term | words
term   = key (":" value ("," value)* | (">" | "<" | ">=" | "<=") value)
words  = a bare word or "a phrase": found anywhere
value  = characters and "quoted parts" (\\" and \\\\ inside); "*" outside quotes stands for anything
"""

from __future__ import annotations

import re
import unicodedata
from typing import NoReturn

from etlmon.core.errors import Fault, Invalid
from etlmon.core.filter_keys import KEYS, FieldType, Key, Value, glob_of, read_value
from etlmon.core.filter_tree import TAG, Node, Text, both, either, negated, term
from etlmon.core.text import clean_line, nearest

MAX_BYTES = 4096
MAX_DEPTH = 64

_SPACE = re.compile(r"\s*")
_BARE = re.compile(r"[^\s()\"*,:<>]+")
_BARE_IN_VALUE = re.compile(r"[^\s()\"*,]+")
_BARE_IN_WORDS = re.compile(r"[^\s()\"*:<>]+")
_OPERATOR = re.compile(r":|>=?|<=?")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_WHOLE_WORD = re.compile(r"(?:OR|AND|NOT)(?![^\s()\"])")
_NOTHING = re.compile(r"\s|\)|$")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def parse(text: str, now: int) -> Node:
    """The tree of a filter; ``errors.Invalid`` (path ``q``) names the column of what is wrong and the nearest key.

    Ages stay ages in the tree, so that it can be asked at any instant after ``now``; an empty text is every job.
    """
    if len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES:
        _refuse(f"the filter is longer than {MAX_BYTES} bytes", MAX_BYTES)
    parser = _Parser(clean_line(text, 4 * MAX_BYTES))  # NUL and surrogates as they are in stored text
    node = parser.either()
    if parser.at < len(parser.text):
        _refuse("')' without its '('", parser.at)
    return node


def _refuse(message: str, at: int) -> NoReturn:
    told = f"column {at + 1}: {message}"
    raise Invalid(f"The filter cannot be read at {told}.", errors=(Fault("q", told),))


class _Parser:
    """One pass over one text; ``at`` is the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def either(self) -> Node:
        nodes = [self._both()]
        while self._keyword("OR"):
            at = self.at - len("OR")
            nodes.append(self._both())
            if not nodes[0] or not nodes[-1]:
                _refuse("OR needs something on both sides", at)
        return either(*(both(*each) for each in nodes))

    def _both(self) -> list[Node]:
        nodes: list[Node] = []
        while not self._at_end() and not self._sees("OR"):
            if self._keyword("AND") and (not nodes or self._at_end() or self._sees("OR")):
                _refuse("AND needs something on both sides", self.at - len("AND"))
            self._skip_space()
            nodes.append(self._negation())
        return nodes

    def _negation(self) -> Node:
        self._skip_space()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            _refuse(f"nested deeper than {MAX_DEPTH}", self.at)
        try:
            if self.text[self.at : self.at + 1] == "-":
                self.at += 1
                if _NOTHING.match(self.text, self.at):
                    _refuse("'-' has nothing to negate (quote it to search for it)", self.at - 1)
                return negated(self._negation())
            if self._keyword("NOT"):
                if self._at_end():
                    _refuse("NOT has nothing to negate", self.at)
                return negated(self._negation())
            return self._group() if self.text[self.at : self.at + 1] == "(" else self._term_or_words()
        finally:
            self.depth -= 1

    def _group(self) -> Node:
        opened = self.at
        self.at += 1
        node = self.either()
        if self.text[self.at : self.at + 1] != ")":
            _refuse("'(' is never closed", opened)
        self.at += 1
        return node

    def _term_or_words(self) -> Node:
        start = self.at
        word = _BARE.match(self.text, self.at)
        if word is not None:
            self.at = word.end()
            tag = self._quoted_tag(word[0])
            operator = _OPERATOR.match(self.text, self.at)
            if operator is not None:
                self.at = operator.end()
                return self._term(word[0], tag, operator[0], start)
            self.at = start
        if (operator := _OPERATOR.match(self.text, self.at)) is not None:
            _refuse(f"'{operator[0]}' has no key before it", self.at)
        pieces = self._pieces(_BARE_IN_WORDS)
        try:
            return Text(glob_of(pieces, normal=False))
        except ValueError as fault:
            _refuse(str(fault), start)

    def _quoted_tag(self, word: str) -> str | None:
        """The key of ``tag."its key"``."""
        quoted = _QUOTED.match(self.text, self.at) if word.lower() == "tag." else None
        if quoted is None:
            return None
        self.at = quoted.end()
        return _ESCAPE.sub(r"\1", quoted[1])

    def _term(self, word: str, quoted_tag: str | None, op: str, start: int) -> Node:
        key, tag = self._key(word, quoted_tag, start)
        if op == ":" and key.type is FieldType.INSTANT:
            _refuse(f"compare {key.name} with < or >, as {key.name}<24h", start)
        if op != ":" and key.type in {FieldType.TEXT, FieldType.MESSAGE, FieldType.ENUM}:
            _refuse(f"{key.name} cannot be compared with '{op}': write {key.name}:value", start)
        values = [self._value(key, op)]
        while op == ":" and self.text[self.at : self.at + 1] == ",":
            self.at += 1
            values.append(self._value(key, op))
        if self.text[self.at : self.at + 1] == ",":
            _refuse(f"'{op}' takes one value", self.at)
        return term(key, op, values, tag)

    def _key(self, word: str, quoted_tag: str | None, start: int) -> tuple[Key, str | None]:
        name = word.lower()
        if name.startswith("tag."):
            tag = unicodedata.normalize("NFC", quoted_tag if quoted_tag is not None else word[len("tag.") :])
            if not tag:
                _refuse("name the tag, as tag.env:prod", start)
            return TAG, tag
        if name == "tag":
            _refuse("name the tag, as tag.env:prod", start)
        if name not in KEYS:
            close = nearest(name, KEYS)
            meant = f"did you mean '{close}'?" if close else f"the keys are tag.<key>, {', '.join(KEYS)}"
            _refuse(f"'{word[:40]}' is not a key: {meant} (quote the text to search for it)", start)
        return KEYS[name], None

    def _value(self, key: Key, op: str) -> tuple[Value, ...]:
        start = self.at
        pieces = self._pieces(_BARE_IN_VALUE)
        if self.at == start:
            _refuse(f"{key.name}{op} needs a value right after it", start)
        try:
            return read_value(key, pieces)
        except ValueError as fault:
            _refuse(str(fault), start)

    def _pieces(self, bare: re.Pattern[str]) -> list[str]:
        """The text up to the next space, parenthesis or separator, split at the ``*`` outside of quotes."""
        pieces = [""]
        while self.at < len(self.text):
            if self.text[self.at] == "*":
                pieces.append("")
                self.at += 1
            elif self.text[self.at] == '"':
                quoted = _QUOTED.match(self.text, self.at)
                if quoted is None:
                    _refuse("the quote is never closed", self.at)
                pieces[-1] += _ESCAPE.sub(r"\1", quoted[1])
                self.at = quoted.end()
            elif (plain := bare.match(self.text, self.at)) is not None:
                pieces[-1] += plain[0]
                self.at = plain.end()
            else:
                break
        return pieces

    def _skip_space(self) -> None:
        space = _SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at

    def _at_end(self) -> bool:
        self._skip_space()
        return self.at >= len(self.text) or self.text[self.at] == ")"

    def _sees(self, word: str) -> bool:
        self._skip_space()
        found = _WHOLE_WORD.match(self.text, self.at)
        return found is not None and found[0] == word

    def _keyword(self, word: str) -> bool:
        if not self._sees(word):
            return False
        self.at += len(word)
        return True
