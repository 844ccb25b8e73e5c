"""Speed and memory, as ratios in one run. ``make bench`` (``python -m bench``) prints one table."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # world.ServerProcess: the same server that tests start
