"""Every header of common/ compiles alone and has #pragma once and a heading comment."""
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main() -> int:
    flags = shlex.split(sys.argv[1]) if len(sys.argv) > 1 else []
    found = []
    headers = sorted(ROOT.glob("common/*/*.h"))
    for header in headers:
        text = header.read_text()
        if "#pragma once" not in text or not text.startswith("/*"):
            found.append(f"{header.relative_to(ROOT)}: needs a heading comment and #pragma once")
        result = subprocess.run(
            ["gcc", "-std=gnu17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
             "-Wno-missing-field-initializers", f"-I{ROOT}/common", *flags, "-include", str(header), "-x", "c",
             "/dev/null"], capture_output=True, text=True)
        if result.returncode:
            found.append(f"{header.relative_to(ROOT)}: does not compile alone:\n{result.stderr[:600]}")
    print("\n".join(found) or f"{len(headers)} headers")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
