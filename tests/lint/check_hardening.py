"""Every program of a release is hardened as cmake/Hardening.cmake asks, and the librdkafka in it, too.

checksec reads the files; what it says is compared line by line. Fortification and canaries must be in
librdkafka's own objects as well: it is linked in and reads what the network sends.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

PROGRAMS = ("ingest-api", "processor", "analytics", "query-api", "sink", "event-generator", "topics",
            "access-key")
WANTED = {"relro": "full", "canary": "yes", "nx": "yes", "pie": "yes", "rpath": "no", "runpath": "no",
          "fortify_source": "yes"}
# Of librdkafka's hundred objects; an archive built without the flags has one of each.
CANARIES_MIN, FORTIFIED_MIN = 40, 20


def differences(program: Path) -> list[str]:
    out = subprocess.run(["checksec", f"--file={program}", "--output=json"], capture_output=True, text=True,
                         check=True, stdin=subprocess.DEVNULL).stdout
    found = next(iter(json.loads(out).values()))
    return [f"{program.name}: {name} is {found.get(name)}, wanted {wanted}"
            for name, wanted in WANTED.items() if found.get(name) != wanted]


def archive_differences(archive: Path) -> list[str]:
    """Objects of the archive that have canaries, and that call checked functions of the C library."""
    out = subprocess.run(["nm", "--undefined-only", archive], capture_output=True, text=True, check=True).stdout
    objects = out.split("\n\n")
    canaries = sum("__stack_chk_fail" in text for text in objects)
    fortified = sum(re.search(r" U __\w+_chk$", text, re.MULTILINE) is not None for text in objects)
    return [] if canaries >= CANARIES_MIN and fortified >= FORTIFIED_MIN else [
        f"{archive}: of {len(objects)} objects {canaries} have canaries and {fortified} are fortified"]


def main() -> int:
    folder, *archives = map(Path, sys.argv[1:])    # the system's librdkafka is hardened by Debian
    found = [line for name in PROGRAMS for line in differences(folder / name)]
    found += [line for archive in archives for line in archive_differences(archive)]
    print("\n".join(found) or f"{len(PROGRAMS)} programs: {', '.join(f'{k} {v}' for k, v in WANTED.items())}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
