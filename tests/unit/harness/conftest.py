"""Puts tools/ on the path: the harness is a package of the tree, not an installed one."""

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tools"))
