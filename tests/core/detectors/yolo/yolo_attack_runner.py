"""Opens each file named in a JSON list with the detector, in a process of its own, and prints what happened as JSON.

An audit hook notes every start of a program, import, execution of code and opening of a file outside of the given folder.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from pathlib import Path

from detailer_core.detectors.yolo.detector import YoloDetector
from detailer_core.errors import DetailerError

FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile", "os.remove", "os.rename", "os.putenv",
             "shutil.", "subprocess.", "import", "exec", "compile", "marshal.", "pickle.", "socket.", "ctypes.", "webbrowser.", "urllib.")


def reset_peak() -> int:
    """Bytes in use; from here on the peak is counted anew, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_bytes()


def peak_bytes() -> int:
    """Most memory that this process had at one time since `reset_peak`; 0 where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        return 0


def main(folder: Path) -> None:
    """Open every file of `attacks.json` in that folder."""
    events: list[str] = []
    watching = False

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if not watching:
            return
        outside = event == "open" and isinstance(arguments[0], str | bytes) and not str(arguments[0]).startswith(str(folder))
        if outside or event.startswith(FORBIDDEN):
            events.append(f"{event} {str(arguments)[:200]}")

    sys.addaudithook(hook)
    YoloDetector(folder / "good.pt", cache_folder=folder / "cache")
    results: dict[str, dict[str, object]] = {}
    for name, entry in json.loads((folder / "attacks.json").read_text(encoding="utf-8")).items():
        events.clear()
        before, started, worked = reset_peak(), time.perf_counter(), time.process_time()
        root = Path(entry["root"]) if entry["root"] else None
        error: BaseException | None = None
        threads = threading.active_count()
        watching = True
        try:
            YoloDetector(Path(entry["path"]), cache_folder=folder / "cache", root=root)
        except Exception as caught:
            error = caught
        watching = False
        results[name] = {"error": type(error).__name__, "known": isinstance(error, DetailerError), "text": str(error),
                         "seconds": time.perf_counter() - started, "work": time.process_time() - worked,
                         "bytes": peak_bytes() - before, "events": list(events), "threads": threading.active_count() - threads}
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
