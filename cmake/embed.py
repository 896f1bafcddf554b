"""Writes files into a C source: embed.py SYMBOL OUTPUT FILE[=NAME]…

Text is stored gzipped beside its plain form, so that a server need not compress at run time.
"""
import gzip
import hashlib
import json
import pathlib
import sys

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


def content(path: pathlib.Path) -> tuple[bytes, str]:
    """The bytes to serve and their suffix."""
    if path.suffix in (".yaml", ".yml"):
        import yaml

        text = json.dumps(yaml.safe_load(path.read_text("utf-8")), ensure_ascii=False)
        return text.encode(), ".json"
    return path.read_bytes(), path.suffix


def c_bytes(data: bytes) -> str:
    rows = [data[i : i + 24] for i in range(0, len(data), 24)]
    return "\n".join("    " + "".join(f"{b}," for b in row) for row in rows)


def entry(index: int, source: str) -> tuple[str, str]:
    path_text, _, name = source.partition("=")
    path = pathlib.Path(path_text)
    data, suffix = content(path)
    name = name or path.with_suffix(suffix).name
    packed = gzip.compress(data, 9, mtime=0)
    etag = hashlib.sha256(data).hexdigest()[:16]
    arrays = (
        f"static const unsigned char plain_{index}[] = {{\n{c_bytes(data)}\n    0}};\n"
        f"static const unsigned char gzip_{index}[] = {{\n{c_bytes(packed)}\n    0}};\n"
    )
    row = (
        f'    {{.name = "{name}", .content_type = "{TYPES[suffix]}", .etag = "\\"{etag}\\"",\n'
        f"     .plain = plain_{index}, .plain_bytes = {len(data)},\n"
        f"     .gzip = gzip_{index}, .gzip_bytes = {len(packed)}}},\n"
    )
    return arrays, row


def main() -> None:
    symbol, output, *sources = sys.argv[1:]
    entries = [entry(i, s) for i, s in enumerate(sources)]
    text = (
        '/* Written by cmake/embed.py. */\n#include "core/embedded.h"\n\n'
        + "\n".join(a for a, _ in entries)
        + f"\nconst struct embedded_file {symbol}[] = {{\n"
        + "".join(r for _, r in entries)
        + f"}};\nconst size_t {symbol}_count = {len(entries)};\n"
    )
    pathlib.Path(output).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
