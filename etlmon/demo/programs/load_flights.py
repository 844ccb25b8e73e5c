"""Load flights from a CSV into SQLite: check each row, clean it, keep the bad ones beside. Uses nothing but the SDK.

python -m etlmon.demo.programs.load_flights SOURCE.csv[.gz] TARGET.db [--name NAME] [--rows-per-second N]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import etlmon

STEPS = ("Reading file", "Checking header", "Loading rows", "Verifying")
COLUMNS = (
    "year", "month", "day", "dep_time", "dep_delay", "arr_time", "arr_delay", "carrier", "flight",
    "tailnum", "origin", "dest", "air_time", "distance", "time_hour",
)  # fmt: skip
TEXT = frozenset({"carrier", "tailnum", "origin", "dest", "time_hour"})
OPTIONAL = frozenset({"arr_time", "arr_delay", "air_time", "tailnum"})
BATCH_ROWS = 1000


class BadRowError(ValueError):
    """A row that cannot be loaded; the text says which column and why."""


def clean(row: dict[str, str]) -> tuple[object, ...]:
    """The row's values in the order of ``COLUMNS``, typed; ``NA`` is missing. BadRowError names the column at fault."""
    values: list[object] = []
    for column in COLUMNS:
        text = (row.get(column) or "").strip()
        if text in {"", "NA"}:
            if column not in OPTIONAL:
                raise BadRowError(
                    f"{column} is missing" + (" (the flight was cancelled)" if column == "dep_time" else "")
                )
            values.append(None)
        elif column in TEXT:
            values.append(text)
        else:
            try:
                values.append(int(float(text)))
            except ValueError:
                raise BadRowError(f"{column} is not a number: {text[:40]!r}") from None
    return tuple(values)


def open_text(source: Path) -> Iterator[str]:
    """The source's lines, unpacked when it is compressed."""
    opener = gzip.open if source.suffix == ".gz" else open
    with opener(source, "rt", encoding="utf-8", newline="") as lines:
        yield from lines


def count_rows(source: Path) -> int:
    """How many data rows the source has (one cheap pass, so that the progress has a total)."""
    return max(0, sum(1 for _ in open_text(source)) - 1)


def load(job: etlmon.Job, source: Path, target: Path, rows_per_second: float) -> None:
    """The whole load; the target is replaced only when every row has been loaded or put aside."""
    job.step("Reading file")
    total = count_rows(source)
    job.log.info("%s has %s rows", source.name, f"{total:,}")
    job.step("Checking header")
    rows = csv.DictReader(open_text(source))
    missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise ValueError(
            f"{source.name} has no column {', '.join(missing)}; it has {', '.join(rows.fieldnames or ['none'])}"
        )
    part = target.with_suffix(".part")
    part.unlink(missing_ok=True)
    with sqlite3.connect(part) as db, open(target.with_suffix(".rejects.jsonl"), "w", encoding="utf-8") as rejects:
        kinds = ", ".join(f"{column} {'TEXT' if column in TEXT else 'INTEGER'}" for column in COLUMNS)
        db.execute(f"CREATE TABLE flights ({kinds}) STRICT")
        loaded, rejected = fill(job, db, rejects, rows, total, rows_per_second)
    job.step("Verifying")
    stored = db.execute("SELECT count(*) FROM flights").fetchone()[0]
    db.close()
    if stored != loaded or loaded + rejected != total:
        raise RuntimeError(f"{total} rows read, but {stored} stored and {rejected} rejected")
    part.replace(target)
    job.log.info("%s rows in %s, %s rejected", f"{loaded:,}", target.name, rejected)
    job.summary(recordsOut=loaded, recordsRejected=rejected, outputs=[target.name, rejects.name.rsplit("/", 1)[-1]])


def fill(job: etlmon.Job, db: sqlite3.Connection, rejects, rows, total: int, rows_per_second: float) -> tuple[int, int]:  # type: ignore[no-untyped-def]
    """Load every row or write it to ``rejects``; how many of each."""
    batch: list[tuple[object, ...]] = []
    loaded = rejected = 0
    begun = time.monotonic()
    for line, row in enumerate(job.track(rows, step="Loading rows", total=total), start=2):
        try:
            batch.append(clean(row))
        except BadRowError as fault:
            rejected += 1
            rejects.write(json.dumps({"line": line, "reason": str(fault), "record": row}) + "\n")
            job.metrics(records_failed=rejected)
            if rejected % 100 == 1:
                job.log.warning("line %s rejected: %s (%s so far)", line, fault, rejected)
        if len(batch) == BATCH_ROWS:
            db.executemany(f"INSERT INTO flights VALUES ({','.join('?' * len(COLUMNS))})", batch)
            loaded += len(batch)
            batch.clear()
            job.checkpoint()
            if rows_per_second:
                time.sleep(max(0.0, begun + (loaded + rejected) / rows_per_second - time.monotonic()))
    db.executemany(f"INSERT INTO flights VALUES ({','.join('?' * len(COLUMNS))})", batch)
    db.commit()
    return loaded + len(batch), rejected


def main() -> int:
    """The command line; 0 when loaded, 1 when not."""
    parser = argparse.ArgumentParser(description="Load flights from a CSV into SQLite.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--name", default="flights_load")
    parser.add_argument(
        "--rows-per-second", type=float, default=0, help="hold back to this speed, so that it can be watched"
    )
    args = parser.parse_args()
    try:
        with etlmon.job(args.name, type="csv_load", owner="ana", tags={"env": "demo"}, steps=STEPS) as job:
            load(job, args.source, args.target, args.rows_per_second)
    except (OSError, ValueError, RuntimeError, etlmon.JobCancelled) as fault:
        print(f"{args.name}: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
