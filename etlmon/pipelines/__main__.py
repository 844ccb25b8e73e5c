"""``python -m etlmon.pipelines [SPEC.json]``: one attempt of one pipeline, its result on ETLMON_RESULT_FD or stdout."""

from __future__ import annotations

import sys

from etlmon.pipelines.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
