"""Who may do what, with the images alone: a key that the tool's image made, a key set from an address."""

from __future__ import annotations

import http.server
import json
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Callable, Iterator

import pytest

from conftest import docker
from harness.ports import free_block
from harness.waiting import wait_for

START_SECONDS = 90.0
# The public key of RFC 7517, appendix A.1.
KEY_SET = {"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig",
                     "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
                     "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}
TOKENS = {"access.jwt.issuer": "https://issuer.test", "access.jwt.audience": "millrace"}


class Issuer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:    # noqa: N802  (the base class's name)
        body = json.dumps(KEY_SET).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:    # pylint: disable=redefined-builtin
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of nobody that Debian knows; its key lies beside it."""
    path = tmp_path_factory.mktemp("issuer") / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=issuer", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", str(path.with_suffix(".key")), "-out", str(path)], check=True, capture_output=True)
    path.chmod(0o644)
    return path


@pytest.fixture(scope="module")
def address(certificate: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}/keys"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Service:
    """One service in a container on this machine's network; there is no Kafka, and none is asked for."""

    def __init__(self, container: str, port: int) -> None:
        self.container = container
        self._url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self._url + path, timeout=10) as answer:
            return str(answer.read().decode())

    def post(self, **headers: str) -> int:
        request = urllib.request.Request(f"{self._url}/events/orders", b"{}", {
            "Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            return refusal.code

    def fetches(self, outcome: str) -> bool:
        return f'millrace_access_jwks_fetches_total{{outcome="{outcome}"}}' in self.get("/metrics")


@pytest.fixture
def start(tag: str) -> Iterator[Callable[..., Service]]:
    """start(program, options, {file: where it is mounted}): confined as in production."""
    started: list[str] = []

    def run(name: str, options: dict[str, str], mounts: dict[Path, str]) -> Service:
        port = free_block(1)
        chosen = {"http.host": "127.0.0.1", "http.port": str(port), "access.mode": "on", **options}
        words = [word for key, value in chosen.items()
                 for word in ("--env", f"MILLRACE_{key.upper().replace('.', '_')}={value}")]
        words += [word for file, place in mounts.items() for word in ("--volume", f"{file}:{place}:ro")]
        started.append(docker("run", "--detach", "--network", "host", "--read-only", "--cap-drop", "ALL",
                              "--security-opt", "no-new-privileges", *words, f"millrace/{name}:{tag}").strip())
        service = Service(started[-1], port)
        wait_for(f"{name} listens", START_SECONDS, lambda: _is_live(service))
        return service

    try:
        yield run
    finally:
        for container in started:
            docker("rm", "--force", container)


def _is_live(service: Service) -> bool:
    try:
        return "live" in service.get("/health/live")
    except OSError:
        return False


def test_key__made_by_its_image__opens_its_topics(tag: str, tmp_path: Path, start: Callable[..., Service]) -> None:
    image = f"millrace/access-key:{tag}"
    key, entry = docker("run", "--rm", "--network", "none", "--read-only", image,
                        "--key.name=shop", "--key.write=orders").splitlines()
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [json.loads(entry)]}))
    file.chmod(0o644)
    ingest = start("ingest-api", {"access.keys.file": "/run/keys.json"}, {file: "/run/keys.json"})
    assert ingest.post() == 401
    assert ingest.post(X_Api_Key=key[:-1] + ("a" if key[-1] != "a" else "b")) == 401
    assert ingest.post(X_Api_Key=key) == 503, "known and allowed: it is Kafka that is not there"


@pytest.mark.parametrize("name", ["ingest-api", "query-api"])
@pytest.mark.parametrize("trust", ["of its own", "of the system"])
def test_key_set__at_an_address__is_fetched(name: str, trust: str, certificate: Path, address: str,
                                            start: Callable[..., Service]) -> None:
    place = "/run/ca.pem" if trust == "of its own" else "/etc/ssl/certs/ca-certificates.crt"
    own = {"access.jwks.ca.file": place} if trust == "of its own" else {}
    service = start(name, {"access.jwks.url": address, **TOKENS, **own}, {certificate: place})
    wait_for("the key set is there", START_SECONDS, lambda: service.fetches("done"))


def test_key_set__of_an_issuer_that_nobody_vouches_for__is_not_taken(
        address: str, start: Callable[..., Service]) -> None:
    service = start("ingest-api", {"access.jwks.url": address, **TOKENS}, {})
    wait_for("the fetch has failed", START_SECONDS, lambda: service.fetches("failed"))
    assert not service.fetches("done")
    done = subprocess.run(["docker", "logs", service.container], capture_output=True, text=True, check=True)
    reasons = [row["msg"] for row in map(json.loads, done.stderr.splitlines()) if row["event"] == "jwks_failed"]
    assert reasons and "certificate" in reasons[0], reasons
