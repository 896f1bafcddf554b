"""What the figures were taken on: they mean nothing without it."""

from __future__ import annotations

import os
import platform
import re
import socket
import subprocess
import time
from pathlib import Path


def _first_match(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1).strip() if found else "unknown"


def _output(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout + done.stderr


def _library_version(name: str, home: Path) -> str:
    """The pinned build's where there is one, as CMake decides."""
    path = f"{home}/deps/librdkafka/lib/pkgconfig:{os.environ.get('PKG_CONFIG_PATH', '')}"
    done = subprocess.run(["pkg-config", "--modversion", name], capture_output=True, text=True, check=False,
                          env={**os.environ, "PKG_CONFIG_PATH": path})
    return done.stdout.strip() or "unknown"


def _kafka_version(home: Path) -> str:
    """By the broker's jar; scripts/kafka keeps its jars under MILLRACE_HOME."""
    jars = [jar.name for jar in home.glob("kafka/**/kafka_2.13-*.jar")]
    return _first_match(r"kafka_2\.13-([\d.]+)\.jar", "\n".join(sorted(jars)[-1:]))


def _tracks_connections() -> bool:
    """Whether packet filter rules, as Docker makes them and leaves behind, have the kernel follow every connection,
    those of loopback too: that costs each packet."""
    table = Path("/proc/net/nf_conntrack")
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as one:
        try:
            return f"sport={one.getsockname()[1]} " in table.read_text()
        except OSError:
            return False


def millrace_home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or f"{os.environ['HOME']}/.cache"
    return Path(os.environ.get("MILLRACE_HOME") or f"{cache}/millrace")


def describe(root: Path) -> dict[str, str | int]:
    """Date, machine, versions, commit."""
    home = millrace_home()
    commit = _output("git", "-C", str(root), "rev-parse", "--short=12", "HEAD").strip()
    # Results are what a run writes; they do not make it another program.
    changed = _output("git", "-C", str(root), "status", "--porcelain", "--", ".", ":!bench/results", ":!README.md")
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": _first_match(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release() + (" that tracks connections" if _tracks_connections() else ""),
        "system": _first_match(r'^PRETTY_NAME="?([^"\n]+)', Path("/etc/os-release").read_text()),
        "librdkafka": _library_version("rdkafka", home),
        "libmicrohttpd": _library_version("libmicrohttpd", home),
        "kafka": _kafka_version(home),
        "jvm": _first_match(r'version "([^"]+)"', _output("java", "-version")),
        "commit": commit + (" with changes" if changed.strip() else ""),
    }
