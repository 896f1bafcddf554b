"""Calls that have a better form here, and words that must not be committed."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# call → (where it is allowed, what to use)
BANNED = {
    r"strcpy|strcat|sprintf|vsprintf|gets": ((), "snprintf or buf"),
    r"atoi|atol|atof": ((), "strtoll with a check, or the config parsers"),
    r"localtime|gmtime|ctime|asctime": ((), "core/clock.h"),
    r"malloc|calloc|realloc|strdup": (("common/core/",), "must_alloc and friends, or arena and buf"),
    r"exit|abort": (("common/core/attributes.c",), "service_fail or CHECK"),
    r"json_decref": (("common/json/",), "json_decrefp or CLEANUP(json_decrefp)"),
    r"rd_kafka_position": (("common/kafka/kafka_tail.c", "common/worker/"), "offsets tracked by ourselves"),
}
COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)


def code_only(text: str) -> str:
    """Blanks comments and strings, keeping the lines."""
    return COMMENT_OR_STRING.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def banned_calls(file: pathlib.Path) -> list[str]:
    name = str(file.relative_to(ROOT))
    code, found = code_only(file.read_text()), []
    for calls, (places, instead) in BANNED.items():
        if name.startswith(places):
            continue
        for match in re.finditer(rf"(?<![\w.>])({calls})\s*\(", code):
            line = code.count("\n", 0, match.start()) + 1
            found.append(f"{name}:{line}: {match.group(1)}: use {instead}")
    return found


def machine_paths() -> list[str]:
    tracked = subprocess.run(["git", "-C", ROOT, "grep", "-nIE", r"/(work|root|home)/[a-z.]", "--", "."],
                             text=True, capture_output=True).stdout
    return [line[:160] for line in tracked.splitlines() if "tests/lint/check_banned.py" not in line]


def cut_pipes() -> list[str]:
    """`… | grep -q` under pipefail fails when grep has seen enough before the other has said all."""
    found = []
    for file in sorted([*ROOT.glob("scripts/**/*"), *ROOT.glob(".ci/*"), *ROOT.glob("deploy/images/*")]):
        if file.is_file():
            for number, line in enumerate(file.read_text().splitlines(), 1):
                if re.search(r"\|\s*grep\s+-\w*q", line.partition("#")[0]):
                    found.append(f"{file.relative_to(ROOT)}:{number}: | grep -q: read it all first, then grep <<<")
    return found


def third_party() -> list[str]:
    """Archives and binaries of others are fetched, never committed."""
    tracked = subprocess.run(["git", "-C", ROOT, "ls-files"], text=True, capture_output=True).stdout
    return [f"{name}: what others made is not committed" for name in tracked.splitlines()
            if name.endswith((".whl", ".jar", ".zip", ".tar", ".gz", ".xz", ".so", ".a", ".deb"))]


def main() -> int:
    found = [row for pattern in ("common/*/*.c", "services/*/*.c", "tools/*/*.c")
             for file in sorted(ROOT.glob(pattern)) for row in banned_calls(file)]
    found += machine_paths() + cut_pipes() + third_party()
    print("\n".join(found) or "nothing banned")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
