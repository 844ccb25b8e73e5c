"""Whatever a CSV file holds: input = output + rejects, in bounded memory, and plain reading agrees with csv's."""

from __future__ import annotations

import csv
import io
import os
import random
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etlmon.core.pipeline_shapes import Format
from etlmon.pipelines.csv_source import CsvFile

LINE = "id,name,note\n"


def job(**more: Any) -> dict[str, Any]:
    return {"source": {"path": "in.csv"}, "sink": {"path": "out.csv"}} | more


def balanced(room: Any, content: bytes, **config: Any) -> tuple[list[list[str]], list[dict[str, Any]]]:
    """Run it; the rows of the output without its header, and the rejects."""
    room.write("in.csv", content)
    result = room.run("csv_processing", job(**config), workDir=tempfile.mkdtemp(dir=room.path))  # a job of its own
    assert result["status"] == "completed", result
    rows = list(csv.reader(io.StringIO(room.text("out.csv"), newline=""), strict=True))
    summary = result["summary"]
    assert summary["recordsIn"] == summary["recordsOut"] + summary["recordsRejected"]
    assert (len(rows) - 1, len(room.rejects())) == (summary["recordsOut"], summary["recordsRejected"])
    return rows[1:], room.rejects()


def test_a_nul_makes_a_reject(room: Any) -> None:
    rows, rejects = balanced(room, LINE.encode() + b"1,a\x00b,c\n2,d,e\n")
    assert rows == [["2", "d", "e"]]
    assert [(each["line"], each["column"], each["reason"]) for each in rejects] == [
        (2, "name", "holds a NUL character")
    ]


def test_lone_quotes_are_text_or_rejects_and_never_swallow_the_file(room: Any) -> None:
    content = LINE + '1,5" pipe,x\n2,"never closed" really,x\n3,"ok, fine",x\n4,"open,x\n5,lost,x\n'
    rows, rejects = balanced(room, content.encode())
    assert rows == [["1", '5" pipe', "x"], ["3", "ok, fine", "x"]]
    assert [each["line"] for each in rejects] == [3, 5]
    assert "quote" in rejects[0]["reason"]
    assert "never closed" in rejects[1]["reason"]


def test_bytes_that_are_no_text_make_rejects_that_show_them(room: Any) -> None:
    rows, rejects = balanced(room, LINE.encode() + "1,é,x\n".encode() + b"2,caf\xe9,x\n3,fine,x\n")
    assert rows == [["1", "é", "x"], ["3", "fine", "x"]]
    assert [(each["line"], each["column"], each["reason"]) for each in rejects] == [(3, "name", "is not valid utf-8")]
    assert rejects[0]["record"]["name"] == "caf\\xe9"


def test_ragged_rows_are_rejects_and_blank_lines_are_nothing(room: Any) -> None:
    rows, rejects = balanced(room, LINE.encode() + b"1,a\n\n2,b,c,d\n\n3,c,d\n")
    assert rows == [["3", "c", "d"]]
    assert [(each["line"], each["reason"]) for each in rejects] == [
        (2, "has 2 fields, the header has 3"),
        (4, "has 4 fields, the header has 3"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "shift_jis"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_encoding_and_line_end_reads_the_same(room: Any, encoding: str, end: str) -> None:
    text = 'id,name,note\n1,"a, b",x\n2,plain,y\n' * 1
    content = text.replace("\n", end).encode(encoding)
    rows, _ = balanced(room, content, source={"path": "in.csv", "format": {"encoding": encoding}})
    assert rows == [["1", "a, b", "x"], ["2", "plain", "y"]]


def test_a_byte_order_mark_tells_the_encoding(room: Any) -> None:
    rows, _ = balanced(room, "id,name,note\n1,é,x\n".encode("utf-16"))
    assert rows == [["1", "é", "x"]]


def test_mixed_line_ends_and_breaks_in_fields(room: Any) -> None:
    rows, rejects = balanced(room, b'id,name,note\r\n1,"a\r\nb",x\n2,c,"y\rz"\r3,d,e\r\n4,bad\n')
    assert rows == [["1", "a\r\nb", "x"], ["2", "c", "y\rz"], ["3", "d", "e"]]
    assert [each["line"] for each in rejects] == [7]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_a_file_without_a_header_fails_with_a_sentence(room: Any, content: bytes) -> None:
    room.write("in.csv", content)
    result = room.run("csv_processing", job())
    assert result["status"] == "failed"
    assert "is empty" in result["failure"]["message"]
    assert room.left() == ["in.csv"]


def test_a_header_alone_gives_a_header_alone(room: Any) -> None:
    assert balanced(room, LINE.encode()) == ([], [])
    assert room.text("out.csv") == LINE


def test_a_name_that_stands_twice_in_the_header_fails_with_its_places(room: Any) -> None:
    room.write("in.csv", "id,name,id\n1,a,2\n")
    result = room.run("csv_processing", job())
    assert "'id' more than once (columns 1 and 3)" in result["failure"]["message"]


def test_utf_16_without_a_mark_is_told_and_not_read_as_rubbish(room: Any) -> None:
    room.write("in.csv", LINE.encode("utf-16-le"))
    assert "source.format.encoding" in room.run("csv_processing", job())["failure"]["suggestedActions"][0]


def test_fields_of_a_megabyte_pass_in_bounded_memory(room: Any) -> None:
    rng = random.Random(1)
    fields = ["".join(rng.choices('ab,"\n', k=1_000_000)) for _ in range(3)]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([("id", "text"), *((str(n), fields[n % 3]) for n in range(40))])
    room.write("in.csv", out.getvalue())
    measure = "import atexit, sys\natexit.register(lambda: print(open('/proc/self/status').read(), file=sys.stderr))"
    process = room.start("csv_processing", job(), code=measure)
    _, err = process.communicate()
    assert process.returncode == 0
    assert room.text("out.csv") == out.getvalue()
    highest_kb = int(err.split(b"VmHWM:")[1].split()[0])
    assert highest_kb < 75_000  # of which the interpreter and what it imports are 35


def test_a_quote_that_opens_a_large_file_is_told_and_costs_no_memory(room: Any) -> None:
    content = LINE + '1,"open,x\n' + "2,plain,row of text\n" * 200_000
    rows, rejects = balanced(room, content.encode())
    assert rejects[0]["line"] == 2
    assert "quote never closed" in rejects[0]["reason"]
    assert all(row == ["2", "plain", "row of text"] for row in rows)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(st.text(alphabet='ab", é', max_size=5), min_size=1, max_size=20), every=st.integers(1, 6))
def test_what_is_written_does_not_depend_on_how_it_was_read(room: Any, cells: list[str], every: int) -> None:
    rows = [[str(n), cell if n % every == 0 else "plain"] for n, cell in enumerate(cells)]
    wanted, odd = io.StringIO(), io.StringIO()
    for out, quoting in ((wanted, csv.QUOTE_MINIMAL), (odd, csv.QUOTE_ALL)):
        out.write("id,v\n")
        for row in rows:
            kind = csv.QUOTE_MINIMAL if row[1] == "plain" else quoting
            csv.writer(out, lineterminator="\n", quoting=kind).writerow(row)
    assert balanced(room, odd.getvalue().encode())[0] == rows
    assert room.text("out.csv") == wanted.getvalue()


CELL = st.text(alphabet='ab",\n\r é;\u2028\x85\x1c', max_size=6)
ROWS = st.lists(st.lists(CELL, min_size=2, max_size=3), max_size=12)


def read(path: Any, batch_rows: int) -> tuple[list[tuple[str, ...]], list[tuple[int, str]], list[dict[str, int]]]:
    file = CsvFile(path, Format(), batch_rows)
    start = file.read_header()
    rows, refused, places = [], [], [start]
    for batch in file.batches(start):
        rows += list(zip(*batch.columns, strict=True))
        refused += [(each.line, each.reason) for each in batch.refused]
        places.append(batch.position)
    file.close()
    return rows, refused, places


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, end=st.sampled_from(["\n", "\r\n"]), batch=st.integers(1, 4), raw=st.booleans())
def test_reading_agrees_with_csv_and_from_every_position_the_rest_is_the_same(
    tmp_path: Any, rows: list[list[str]], end: str, batch: int, raw: bool
) -> None:
    out = io.StringIO()
    if raw:  # as hostile as it comes
        out.write("a,b" + end + end.join(",".join(row) for row in rows))
    else:
        writer = csv.writer(out, lineterminator=end)
        writer.writerow(["a", "b"])
        for row in rows:  # csv leaves a bare carriage return unquoted where lines end in a newline
            quoting = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL)
            quoting.writerow(row) if any("\r" in cell or "\n" in cell for cell in row) else writer.writerow(row)
    path = tmp_path / "in.csv"
    path.write_bytes(out.getvalue().encode())
    found, refused, places = read(path, batch)
    again, refused_again, _ = read(path, 5000)
    assert (found, sorted(refused)) == (again, sorted(refused_again))
    if not raw:
        wanted = [tuple(row) for row in rows if len(row) == 2]
        assert found == wanted
        assert len(refused) == len(rows) - len(wanted)
    for position in places:
        file = CsvFile(path, Format(), 3)
        file.read_header()
        rest = [row for each in file.batches(position) for row in zip(*each.columns, strict=True)]
        file.close()
        assert rest == found[len(found) - len(rest) :]
    assert rest == []
    assert os.path.getsize(path)
