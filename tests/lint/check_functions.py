"""No C function longer than 70 lines (style §9), counted by Universal Ctags."""
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINES_MAX = 70


def main() -> int:
    files = [str(f) for pattern in ("common/*/*.c", "services/*/*.c", "tools/*/*.c", "bench/**/*.c")
             for f in ROOT.glob(pattern)]
    tags = subprocess.run(["ctags", "-L", "-", "-f", "-", "--fields=+ne", "--c-kinds=f"],
                          input="\n".join(files), text=True, capture_output=True, check=True).stdout
    sizes = []
    for line in tags.splitlines():
        fields = line.split("\t")
        place = dict(f.split(":", 1) for f in fields[3:] if ":" in f)
        if "end" in place:
            size = int(place["end"]) - int(place["line"]) + 1
            sizes.append((size, f"{pathlib.Path(fields[1]).relative_to(ROOT)}: {fields[0]}"))
    assert sizes, "ctags found no function"
    long = sorted((s for s in sizes if s[0] > LINES_MAX), reverse=True)
    print("\n".join(f"{where}: {size} lines" for size, where in long)
          or f"{len(sizes)} functions, longest {max(sizes)[0]} lines, "
             f"median {sorted(sizes)[len(sizes) // 2][0]}")
    return bool(long)


if __name__ == "__main__":
    sys.exit(main())
