"""The layer law: a room of common/ includes only itself and the rooms it may use; services include
no other service. The law is read from common/CMakeLists.txt, where the build enforces the linking."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
ROOM = re.compile(r"^millrace_room\((\w+)(.*)\)$", re.M)


def allowed_rooms() -> dict[str, set[str]]:
    """Room → rooms it may include, itself and everything reachable."""
    direct: dict[str, list[str]] = {}
    for name, rest in ROOM.findall((ROOT / "common/CMakeLists.txt").read_text()):
        uses = re.search(r"USES((?: \w+)+?)(?: LIBS|$)", rest.strip())
        direct[name] = uses.group(1).split() if uses else []
    reach: dict[str, set[str]] = {}
    for name, uses in direct.items():  # declared in order: what a room uses came before it
        reach[name] = {name}.union(*(reach[used] for used in uses))
    return reach


def violations(law: dict[str, set[str]]) -> list[str]:
    found = []
    for file in sorted(ROOT.glob("common/*/*.[ch]*")):
        room = file.parent.name
        for include in INCLUDE.findall(file.read_text()):
            target = include.split("/")[0]
            if "/" in include and target in law and target not in law[room]:
                found.append(f"{file.relative_to(ROOT)}: {room} may not include {include}")
    for file in sorted(ROOT.glob("services/*/*.[ch]")):
        for include in INCLUDE.findall(file.read_text()):
            own = (file.parent / include).exists()
            if not own and include.split("/")[0] not in law:
                found.append(f"{file.relative_to(ROOT)}: {include} is not this service's and no room's")
    return found


def main() -> int:
    law = allowed_rooms()
    assert law["core"] == {"core"} and "kafka" in law["service"], "the law was not read"
    found = violations(law)
    print("\n".join(found) or f"{len(law)} rooms, no violation")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
