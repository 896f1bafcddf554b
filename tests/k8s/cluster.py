"""A Kubernetes cluster as a test sees it: kubectl alone, on whatever cluster KUBECONFIG names.

Requests and reads go through port-forwards, load comes from a pod inside (a port-forward ends with its
pod, and what is to be tried is the Service). The generator's ledger is its standard output, followed
with `kubectl logs`.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Callable, Sequence

from harness.ledger import Entry, parse_line
from harness.process import Process
from harness.settle import Verdict, settle
from harness.verify import format_discrepancies
from harness.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "deploy" / "k8s"
NAMESPACE = "millrace"
WINDOW_MS = 60_000    # as pipelines/product-metrics.json says
BROKERS = 3
# The brokers' listeners inside their pods, for port-forwards; they advertise these very ports.
BROKER_PORT = 19090
KUBECTL_SECONDS = 120.0
POD_SECONDS = 300     # until a pod's container runs: a starved node takes minutes
FORWARD_SECONDS = 20.0


class KubectlFailed(AssertionError):
    """kubectl did not do what it was asked; the text carries what it said."""


def kubectl(*words: str, stdin: str | None = None, seconds: float = KUBECTL_SECONDS,
            accept: Sequence[int] = (0,)) -> str:
    """Run kubectl in the namespace; its standard output."""
    argv = ["kubectl", "--namespace", NAMESPACE, *words]
    done = subprocess.run(argv, input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode not in accept:
        raise KubectlFailed(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def await_pod(name: str) -> None:
    kubectl("wait", f"pod/{name}", "--for=condition=Ready", f"--timeout={POD_SECONDS}s", seconds=POD_SECONDS + 10)


def get(*words: str) -> Any:
    return json.loads(kubectl("get", *words, "-o", "json"))


def items(*words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get(*words)["items"]
    return found


class Forward:
    """A port-forward to a pod or a service. `port` is on this machine; 0 takes any free one."""

    def __init__(self, target: str, remote: int, log_dir: Path, port: int = 0) -> None:
        name = f"forward-{target.replace('/', '-')}"
        argv = ["kubectl", "--namespace", NAMESPACE, "port-forward", target, f"{port or ''}:{remote}"]
        self._process = Process(name, argv, log_dir / f"{name}.log")
        self.port = 0

    def __enter__(self) -> Forward:
        self._process.log.unlink(missing_ok=True)
        self._process.start()

        def opened() -> str | None:
            self._process.require_running()
            found = re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", "\n".join(self._process.log_tail()))
            return found[1] if found else None

        self.port = int(wait_for(f"{self._process.name} opens", FORWARD_SECONDS, opened))
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()


class Load:
    """An event-generator in a pod of its own, whose ledger is followed as it writes it."""

    def __init__(self, number: int, image: str, rate: int, log_dir: Path) -> None:
        self.name = f"load-{number}"
        self._path = log_dir / f"{self.name}.ndjson"
        self._logs = Process(f"logs-{self.name}", ["kubectl", "--namespace", NAMESPACE, "logs", "--follow",
                                                   self.name], log_dir / f"{self.name}.log")
        args = ["--url=http://ingest-api:8080", f"--rate={rate}", f"--seed={number}", "--ledger=/dev/stdout",
                "--log.level=error"]
        kubectl("apply", "-f", "-", stdin=json.dumps(self._pod(image, args)))

    def _pod(self, image: str, args: list[str]) -> dict[str, Any]:
        container = {"name": "event-generator", "image": image, "imagePullPolicy": "IfNotPresent", "args": args,
                     "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                         "capabilities": {"drop": ["ALL"]}}}
        return {"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": self.name, "labels": {"app.kubernetes.io/name": "event-generator"}},
                "spec": {"restartPolicy": "Never", "serviceAccountName": "event-generator",
                         "automountServiceAccountToken": False, "enableServiceLinks": False,
                         "terminationGracePeriodSeconds": 60, "containers": [container],
                         "securityContext": {"runAsNonRoot": True, "runAsUser": 65532,
                                             "seccompProfile": {"type": "RuntimeDefault"}}}}

    def start(self) -> None:
        await_pod(self.name)
        self._logs.start(stdout=self._path)

    def stop(self) -> None:
        """Let it end in order. A deadline, and no delete: a deleted pod's last lines may be lost."""
        kubectl("patch", "pod", self.name, "--patch", '{"spec":{"activeDeadlineSeconds":1}}')
        code = self._logs.wait(90.0)
        assert code == 0, self._logs.trouble(f"ended with {code}")

    def _lines(self) -> list[str]:
        return [line for line in self._path.read_text().split("\n")[:-1] if '"outcome":' in line]

    def entries(self) -> list[Entry]:
        return [parse_line(line) for line in self._lines()]

    def acknowledged(self) -> int:
        return self._path.read_bytes().count(b'"outcome":"ok"') if self._path.exists() else 0

    def await_acknowledged(self, more: int, seconds: float = 120.0) -> None:
        wanted = self.acknowledged() + more
        wait_for(f"{more} more acknowledgements of {self.name} (have {wanted - more})", seconds,
                 lambda: self.acknowledged() >= wanted)

    def kill(self) -> None:
        self._logs.kill()


class Cluster:
    """Millrace on a cluster: applied, loaded, disturbed and judged."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.loads: list[Load] = []
        self.posted: list[Entry] = []

    # --- Applying --------------------------------------------------------------------------------

    def apply(self) -> None:
        kubectl("apply", "-f", str(MANIFESTS))

    def workloads(self) -> list[str]:
        """Everything that rolls out, as kind/name."""
        return [f"{one['kind'].lower()}/{one['metadata']['name']}" for one in items("statefulsets,deployments")]

    def await_rollouts(self, seconds: int = 240) -> None:
        for one in self.workloads():
            kubectl("rollout", "status", one, f"--timeout={seconds}s", seconds=seconds + 10)

    def generator_image(self) -> str:
        """The one that the manifests name."""
        for job in items("jobs"):
            for container in job["spec"]["template"]["spec"]["containers"]:
                if "event-generator" in container["image"]:
                    return str(container["image"])
        raise KubectlFailed("no Job names the image of event-generator")

    # --- Load ------------------------------------------------------------------------------------

    def load(self, rate: int) -> Load:
        started = Load(len(self.loads) + 1, self.generator_image(), rate, self.run_dir)
        self.loads.append(started)
        started.start()
        started.await_acknowledged(rate)
        return started

    # --- Disturbing ------------------------------------------------------------------------------

    def pods(self, name: str) -> list[str]:
        return [pod["metadata"]["name"] for pod in items("pods", "-l", f"app.kubernetes.io/name={name}")
                if "deletionTimestamp" not in pod["metadata"]]

    def delete_pod(self, pod: str) -> None:
        """Delete it and wait until its successor, whatever its name, is as ready as it was."""
        uid = get("pod", pod)["metadata"]["uid"]
        kubectl("delete", "pod", pod, "--wait=false")
        self.await_gone(pod, uid)
        self.await_rollouts()

    def await_gone(self, pod: str, uid: str) -> None:
        def is_gone() -> bool:
            text = kubectl("get", "pod", pod, "--ignore-not-found", "-o", "json")
            return not text or json.loads(text)["metadata"]["uid"] != uid

        wait_for(f"pod {pod} goes", 120.0, is_gone, poll_seconds=0.3)

    def evict(self, pod: str) -> bool:
        """What a drain does: ask, and be refused while a disruption budget is used up."""
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
        try:
            kubectl("create", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction", "-f", "-",
                    stdin=json.dumps(eviction))
        except KubectlFailed as refused:
            assert "disruption budget" in str(refused), refused
            return False
        return True

    # --- Verdict ---------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        return [*self.posted, *(entry for load in self.loads for entry in load.entries())]

    def require_exact(self, seconds: float = 90.0) -> Verdict:
        """Wait until everything accepted has come through, in Kafka and in the sink's file."""
        lines = self.run_dir / "metrics.json"

        def fetch_lines() -> None:
            lines.write_text(kubectl("exec", "reader", "--", "cat", "/data/metrics.json"))

        verdict = self._through_brokers(
            lambda bootstrap: settle(bootstrap, self.entries(), WINDOW_MS, lines, seconds, fetch_lines))
        assert not verdict.found, f"after {verdict.seconds:.0f} s:\n{format_discrepancies(verdict.found)}"
        return verdict

    def _through_brokers(self, read: Callable[[str], Verdict]) -> Verdict:
        ports = [BROKER_PORT + broker for broker in range(BROKERS)]
        forwards = [Forward(f"pod/kafka-{broker}", port, self.run_dir, port) for broker, port in enumerate(ports)]
        entered: list[Forward] = []
        try:
            for forward in forwards:
                entered.append(forward.__enter__())
            return read(",".join(f"127.0.0.1:{port}" for port in ports))
        finally:
            for forward in entered:
                forward.__exit__()

    def start_reader(self) -> None:
        """A pod beside the sink that can read its volume: the sink's image has no shell."""
        container = {"name": "reader", "image": "apache/kafka:4.1.0", "imagePullPolicy": "IfNotPresent",
                     "command": ["sleep", "3600"], "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True}],
                     "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                         "capabilities": {"drop": ["ALL"]}}}
        same_node = {"topologyKey": "kubernetes.io/hostname",
                     "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "sink"}}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reader"},
               "spec": {"automountServiceAccountToken": False, "enableServiceLinks": False, "containers": [container],
                        "terminationGracePeriodSeconds": 0,
                        "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [same_node]}},
                        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-sink-0"}}],
                        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532,
                                            "seccompProfile": {"type": "RuntimeDefault"}}}}
        kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        await_pod("reader")
