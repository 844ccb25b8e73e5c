"""The sanitizer: nothing that it lets through can move a cursor, hide, reorder or send."""

from __future__ import annotations

import sys
import unicodedata

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etlmon.core import text

ANY = st.text(st.characters(), max_size=300) | st.text(
    st.sampled_from(
        "\x00\x07\x1b\t\n\r\x7f\x85\x9b\u00ad\u061c\u200b\u200d\u202e\u2028\u2066\ud800\udfff\ufeff\u3164\U000e0041ab["
    ),
    max_size=60,
)


def deceives(character: str, *, besides: str = "") -> bool:
    return character not in besides and (
        unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        or character in "\u034f\u115f\u1160\u3164\uffa0"
    )


@given(ANY)
@example("\x1b]52;c;aGk=\x07")
@example("\x1bc\x9b2J\u202e")
def test_what_is_shown_holds_nothing_that_deceives_and_showing_it_again_changes_nothing(hostile: str) -> None:
    safe = text.shown(hostile)
    assert not any(deceives(each) for each in safe)
    assert text.shown(safe) == safe


@given(ANY)
def test_newlines_alone_survive_when_they_are_kept(hostile: str) -> None:
    safe = text.shown(hostile, keep_newlines=True)
    assert not any(deceives(each, besides="\n") for each in safe)
    assert safe.count("\n") == hostile.count("\n")
    assert text.shown(safe, keep_newlines=True) == safe


def test_every_format_character_that_this_python_knows_is_replaced() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if deceives(character):
            assert text.shown(character) != character, hex(code)
            assert text.clean_name(character) == "\ufffd", hex(code)


def test_controls_are_shown_as_their_pictures() -> None:
    assert text.shown("a\tb\x1b[2J\r\n\x7f\x9b\u202ec") == "a    b␛[2J␍␊␡��c"


@given(ANY)
def test_plain_words_in_any_script_are_shown_as_they_are(words: str) -> None:
    plain = "".join(each for each in words if not deceives(each) and each not in "\u17b4\u17b5")
    assert text.shown(plain) == plain


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=60), max_size=4))
@example({"k": "\x7f\x9b\u202e\U000e0041\u2028"})
def test_escaped_json_is_safe_and_means_the_same(value: dict[str, str]) -> None:
    safe = text.shown_json(msgspec.json.format(msgspec.json.encode(value)).decode())
    assert not any(deceives(each, besides="\n\t") for each in safe)
    assert msgspec.json.decode(safe) == value


@given(ANY)
def test_a_kept_name_is_short_normal_and_stable(hostile: str) -> None:
    name = text.clean_name(hostile * 3)
    assert len(name) <= 200
    assert not any(deceives(each) for each in name)
    assert unicodedata.is_normalized("NFC", name)
    assert text.clean_name(name) == name


def test_a_name_of_megabytes_is_cut_without_being_read_whole() -> None:
    assert len(text.clean_name("e\u0301" * 1_000_000)) == 200


@given(ANY, st.integers(40, 400))
@example("é" * 300, 41)
@example("\ud800" * 20, 60)
def test_a_kept_line_fits_can_be_encoded_and_is_stable(hostile: str, max_bytes: int) -> None:
    line = text.clean_line(hostile, max_bytes)
    assert len(line.encode()) <= max_bytes
    assert "\x00" not in line
    assert text.clean_line(line, max_bytes) == line


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=100))
def test_a_line_that_fits_is_kept_to_the_letter(line: str) -> None:
    assert text.clean_line(line, 400) == line


def test_a_cut_line_says_how_much_is_missing() -> None:
    assert text.clean_line("x" * 100, 40) == "x" * 20 + " … [cut 80 bytes]"
    assert text.clean_line("é" * 100, 50) == "é" * 15 + " … [cut 170 bytes]"


def test_escape_sequences_of_every_kind_are_stripped() -> None:
    coloured = "\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x1b\\link\x1b]8;;\x07 \x9b2Jc1 \x1bPq#0\x1b\\dcs \x1b(Bend"
    assert text.strip_ansi(coloured) == "red link c1 dcs end"
    assert text.strip_ansi("plain [31m") == "plain [31m"


@given(ANY)
def test_stripping_never_adds(hostile: str) -> None:
    assert len(text.strip_ansi(hostile)) <= len(hostile)


def test_a_slip_of_the_finger_finds_its_word() -> None:
    assert text.nearest("statsu", ["status", "type", "name"]) == "status"
    assert text.nearest("Recordstotal", ["recordsTotal"]) == "recordsTotal"
    assert text.nearest("zzz", ["status", "type"]) is None
    assert text.nearest("s" * 100_000, ["status"]) is None
    assert text.hint("ownr", ["owner"]) == ": did you mean 'owner'?"
    assert text.hint("q", ["owner"]) == ""


def test_a_sentence_ends_once() -> None:
    assert text.sentence("there is no status 'x'") == "there is no status 'x'."
    assert text.sentence("there is no status 'x': did you mean 'y'?") == "there is no status 'x': did you mean 'y'?"


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (rb'{"a": "\ud800"}', rb'{"a": "\ufffd"}'),
        (rb'{"\uDFFFx": "\u0000"}', rb'{"\ufffdx": "\ufffd"}'),
        (rb'{"a": "\ud83d\ude00 \ud83d"}', rb'{"a": "\ud83d\ude00 \ufffd"}'),
        (rb'{"a": "\\ud800 \" \\\ud800"}', rb'{"a": "\\ud800 \" \\\ufffd"}'),
        ('{"a": "\u00e9\U0001f600 \\u00e9"}'.encode(), '{"a": "\u00e9\U0001f600 \\u00e9"}'.encode()),
    ],
)
def test_json_that_is_kept_undecoded_holds_no_nul_and_no_lone_surrogate(raw: bytes, kept: bytes) -> None:
    assert text.clean_json(raw) == kept
