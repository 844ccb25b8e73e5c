"""The demo's chain: clean → map → upload, as definitions of the demo's own config file. Knows no process."""

from __future__ import annotations

from pathlib import Path

CHAIN = ("clean_flights", "map_flights", "upload_flights")

_CONFIG = """\
[worker]
concurrency = 4
allowed_roots = [{directory!r}, {data!r}]
allowed_hosts = ["127.0.0.1"]

[jobs.clean_flights]
type = "csv_processing"
owner = "ana"
tags = {{env = "demo"}}

[jobs.clean_flights.config]
source = {{path = {flights!r}}}
sink = {{path = {clean!r}}}

[jobs.clean_flights.config.columns]
dep_time = {{type = "integer", required = true, null = ["", "NA"], min = 1, max = 2400}}
arr_delay = {{type = "integer", null = ["", "NA"]}}
distance = {{type = "integer", required = true, min = 1}}
tailnum = {{type = "string"}}

[jobs.map_flights]
type = "field_mapping"
owner = "ana"
tags = {{env = "demo"}}

[jobs.map_flights.config]
source = {{path = {clean!r}}}
sink = {{path = {mapped!r}, kind = "jsonl"}}
fields = [
  {{to = "flight", concat = ["carrier", "flight"], separator = " "}},
  {{to = "airline", lookup = "carrier", missing = "reject", table = {airlines_table}}},
  {{to = "from", from = "origin"}},
  {{to = "to", from = "dest"}},
  {{to = "km", expr = "round(distance * 1.609, 1)"}},
  {{to = "late", expr = "coalesce(arr_delay, 0) > 15"}},
  {{to = "departed", from = "time_hour"}},
]

[jobs.upload_flights]
type = "api_upload"
owner = "lena"
tags = {{env = "demo"}}

[jobs.upload_flights.config]
source = {{path = {mapped!r}, kind = "jsonl"}}
url = "http://127.0.0.1:{port}/flights"
batch_records = 200
rate_per_second = {requests_per_second}
retry = {{base = "200ms", cap = "2s"}}
"""


def config_text(directory: Path, *, flights: Path, airlines: Path, port: int, requests_per_second: int) -> str:
    """The config file: what the worker may touch, and the three definitions."""
    return _CONFIG.format(
        directory=str(directory),
        data=str(flights.parent),
        flights=str(flights),
        airlines_table=f'{{path = "{airlines}", key = "carrier", value = "name"}}',
        clean=str(directory / "clean.csv"),
        mapped=str(directory / "mapped.jsonl"),
        port=port,
        requests_per_second=requests_per_second,
    )
