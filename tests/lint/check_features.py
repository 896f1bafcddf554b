"""docs/features-*.md: every feature of ours names tests, and those tests are there.

Behind the # of a link stands a test's name, which the file has to define, or a word that the file has to hold."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\(\.\./(tests/[^)#]+)#(\w+)\)")


def wanted(word: str) -> str:
    """Compilers and pytest see to it that what is defined is run, too."""
    return rf"\b(?:def|void) {word}\(" if word.startswith("test_") else rf"\b{word}\b"


def faults(page: pathlib.Path) -> list[str]:
    found, rows = [], 0
    for number, line in enumerate(page.read_text().splitlines(), 1):
        place = f"{page.relative_to(ROOT)}:{number}"
        if not line.startswith("| ") or line.startswith("| feature "):
            continue
        rows += 1
        links = LINK.findall(line.rstrip("| ").rsplit("|", 1)[-1])
        if not links:
            found.append(f"{place}: names no test")
        for path, word in links:
            file = ROOT / path
            if not file.is_file():
                found.append(f"{place}: there is no {path}")
            elif not re.search(wanted(word), file.read_text()):
                found.append(f"{place}: {path} has no {word}")
    return found if rows else [f"{page.relative_to(ROOT)}: no table was read"]


def main() -> int:
    pages = sorted((ROOT / "docs").glob("features-*.md"))
    found = [fault for page in pages for fault in faults(page)]
    print("\n".join(found) or f"{len(pages)} pages, every feature has its tests")
    return bool(found) or not pages


if __name__ == "__main__":
    sys.exit(main())
