"""Compare the core with a folder of the reference's numbers.

Usage: python tests/golden_check.py FOLDER

FOLDER: the golden data, or its folder `yolo` alone, which is checked with it.

Prints, for each file of the folder, rows passed / rows and the worst difference; exit code 0 only if every row passes. What differs from the
reference on purpose stands in the tables `ON_PURPOSE` of the parts, each entry with its item number in REFERENCE (0: found here, not listed there).
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
warnings.filterwarnings("ignore", category=DeprecationWarning)

from golden_parts import do_detail, primitives, wildcards, yolo  # noqa: E402  (the path has to be set first)

PARTS = [primitives, wildcards, do_detail, yolo]


def main(folder: Path) -> int:
    """Exit code: 0 if all rows of all parts pass."""
    results = {name: result for part in PARTS for name, result in part.check(folder).items()}
    if not results:
        print(f"no golden data in {folder}")
        return 2
    for name, (passed, total, worst) in results.items():
        print(f"{name:44} {passed:6}/{total:<6} worst difference {worst:.3g}")
    passed, total = (sum(r[i] for r in results.values()) for i in (0, 1))
    print(f"{'all':44} {passed:6}/{total}")
    return 0 if passed == total else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
