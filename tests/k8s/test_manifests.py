"""deploy/k8s before any cluster sees it: the API's own schemas, two reviewers, and that our rules bite.

Every exception from a reviewer stands here with its reason; one that is not needed any more fails.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lint"))

from check_k8s import Manifests, violations    # noqa: E402  (the path is set above)

TOOLS = Path(os.environ.get("MILLRACE_HOME") or Path.home() / ".cache" / "millrace") / "deps"
FILES = [str(path) for path in sorted((ROOT / "deploy" / "k8s").rglob("*.yaml"))]

# The oldest that is still maintained somewhere, the one of the tests, and the newest that is known.
VERSIONS = ("1.30", "1.32", "1.34", "1.37")

# (check, resource or * for all): why it does not hold here.
CHECKOV_EXCEPTIONS = {
    ("CKV_K8S_43", "*"): "a digest is known once an image is pushed; tags are versions and never move",
    ("CKV_K8S_15", "*"): "the images are those on the node: built here, or pulled once; a version does not change",
    ("CKV_K8S_40", "StatefulSet.millrace.kafka"): "apache/kafka's own user is 1000",
    ("CKV_K8S_8", "Deployment.millrace.event-generator"): "a generator listens to nobody; an example",
    ("CKV_K8S_9", "Deployment.millrace.event-generator"): "a generator listens to nobody; an example",
}
KUBE_SCORE_EXCEPTIONS = {
    "ImagePullPolicy is not set to Always": "as above",
    "(kafka) The container is running with a low user ID": "as above",
    "(kafka) The container running with a low group ID": "as above",
    "host podAntiAffinity": "topologySpreadConstraints say the same, and spread three and more evenly",
}


def run(tool: str, *words: str, accept: tuple[int, ...] = (0,)) -> str:
    found = [TOOLS / folder / "bin" / tool for folder in ("venv-k8s", "go-k8s")]
    path = next((path for path in found if path.exists()), None)
    assert path, f"{tool} is not in {' or '.join(map(str, found))}: scripts/deps k8s installs it"
    done = subprocess.run([str(path), *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in accept, f"{tool}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_schema__every_field_is_known(version: str) -> None:
    run("kubernetes-validate", "--strict", "--quiet", "-k", version, *FILES)


def test_schema__a_slip_is_found(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "k8s" / "40-ingest-api.yaml").read_text()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("readinessProbe:", "readynessProbe:"))
    run("kubernetes-validate", "--strict", "--quiet", "-k", VERSIONS[-1], str(wrong), accept=(1,))


def test_checkov__only_the_listed_exceptions() -> None:
    report = json.loads(run("checkov", "--framework", "kubernetes", "--directory", str(ROOT / "deploy" / "k8s"),
                            "--output", "json", "--quiet", "--soft-fail"))
    failed = {(row["check_id"], row["resource"]) for row in report["results"]["failed_checks"]}
    assert report["summary"]["passed"] + report["summary"]["failed"] > 500, "checkov looked at too little"
    used = {(check, resource if (check, resource) in CHECKOV_EXCEPTIONS else "*") for check, resource in failed}
    assert used == set(CHECKOV_EXCEPTIONS), failed


def test_kube_score__only_the_listed_exceptions() -> None:
    lines = run("kube-score", "score", "--kubernetes-version", "v1.32", "--output-format", "ci",
                "--enable-optional-test", "container-seccomp-profile", *FILES, accept=(0, 1)).splitlines()
    assert sum(line.startswith("[OK]") for line in lines) > 50, "kube-score looked at too little"
    findings = [line for line in lines if line.startswith(("[WARNING]", "[CRITICAL]"))]
    used = {known for known in KUBE_SCORE_EXCEPTIONS if any(known in line for line in findings)}
    unlisted = [line for line in findings if not any(known in line for known in KUBE_SCORE_EXCEPTIONS)]
    assert not unlisted and used == set(KUBE_SCORE_EXCEPTIONS), unlisted


# --- What is derived ------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What generate.py reads and writes, in a place of its own."""
    for folder in ("deploy/k8s", "pipelines", "schemas"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def generate(tree: Path, *words: str) -> int:
    return subprocess.run([sys.executable, "-B", str(tree / "deploy/k8s/generate.py"), *words],
                          capture_output=True, check=False).returncode


def rolled(tree: Path) -> set[str]:
    """Workloads whose pods a change replaces, by what their pods carry."""
    before, after = ({one["metadata"]["name"]: one["spec"]["template"] for one in found.of(
        "Deployment", "StatefulSet", "Job")} for found in (Manifests(), Manifests(tree / "deploy/k8s")))
    return {name for name, template in after.items() if before.get(name) != template}


@pytest.mark.parametrize(("file", "readers"), [
    ("pipelines/orders.json", {"processor"}),
    ("pipelines/product-metrics.json", {"analytics"}),
    ("schemas/orders.json", {"ingest-api"}),
    ("deploy/k8s/20-kafka.yaml", set()),
])
def test_generate__a_change_rolls_its_readers_alone(tree: Path, file: str, readers: set[str]) -> None:
    path = tree / file
    path.write_text(path.read_text().rstrip("\n") + "\n\n")
    assert generate(tree, "--check") == (1 if readers else 0)
    assert generate(tree) == 0
    assert generate(tree, "--check") == 0
    assert rolled(tree) == readers


def test_generate__changed_topics_are_a_new_job(tree: Path) -> None:
    path = tree / "pipelines/topics.json"
    path.write_text(path.read_text().replace('"partitions": 6', '"partitions": 12', 1))
    generate(tree)
    (job,) = Manifests(tree / "deploy/k8s").of("Job")
    assert job["metadata"]["name"] != Manifests().of("Job")[0]["metadata"]["name"]
    assert rolled(tree) == {"ingest-api", job["metadata"]["name"]}    # ingest-api takes its record keys from there


# --- That our rules bite: each row plants one fault, and its words are in what is found ------------

Fault = Callable[[Any], Any]


def of(manifests: Manifests, kind: str, name: str) -> dict[str, Any]:
    return next(one for one in manifests.applied if one["kind"] == kind and one["metadata"]["name"] == name)


def pod(manifests: Manifests, kind: str, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = of(manifests, kind, name)["spec"]["template"]["spec"]
    return spec


def container(manifests: Manifests, kind: str, name: str) -> dict[str, Any]:
    first: dict[str, Any] = pod(manifests, kind, name)["containers"][0]
    return first


def remove(manifests: Manifests, kind: str, name: str) -> None:
    manifests.applied.remove(of(manifests, kind, name))


FAULTS: dict[str, Fault] = {
    "more rights than none": lambda m: container(m, "StatefulSet", "sink")["securityContext"].update(
        readOnlyRootFilesystem=False),
    "not restricted to a numeric user": lambda m: pod(m, "StatefulSet", "kafka")["securityContext"].pop("runAsUser"),
    "account of their own": lambda m: pod(m, "Deployment", "query-api").update(serviceAccountName="default"),
    "would come as environment": lambda m: pod(m, "StatefulSet", "kafka").pop("enableServiceLinks"),
    "of no restricted sort": lambda m: pod(m, "StatefulSet", "kafka")["volumes"].append(
        {"name": "host", "hostPath": {"path": "/"}}),
    "has no bound": lambda m: pod(m, "StatefulSet", "kafka")["volumes"][0].update(emptyDir={}),
    "limits are not": lambda m: container(m, "Deployment", "ingest-api")["resources"]["limits"].pop("memory"),
    "is not of version": lambda m: container(m, "Deployment", "ingest-api").update(image="millrace/ingest-api:latest"),
    "does not ask /health/ready": lambda m: container(m, "StatefulSet", "sink")["readinessProbe"].update(
        httpGet={"path": "/health", "port": "http"}),
    "has no livenessProbe": lambda m: container(m, "StatefulSet", "kafka").pop("livenessProbe"),
    "not longer than its drain": lambda m: pod(m, "Deployment", "ingest-api").update(terminationGracePeriodSeconds=15),
    "refuses before the endpoints": lambda m: container(m, "Deployment", "query-api").pop("env"),
    "takes away before it adds": lambda m: of(m, "Deployment", "query-api")["spec"].pop("strategy"),
    "are not the autoscaler's": lambda m: of(m, "Deployment", "query-api")["spec"].update(replicas=1),
    "scales down in haste": lambda m: of(m, "HorizontalPodAutoscaler", "query-api")["spec"].pop("behavior"),
    "has not one disruption budget": lambda m: remove(m, "PodDisruptionBudget", "kafka"),
    "is not its pod's stable name": lambda m: container(m, "StatefulSet", "analytics").pop("env"),
    "is not at 8080": lambda m: remove(m, "Service", "ingest-api"),
    "would not find it": lambda m: of(m, "StatefulSet", "sink")["spec"]["template"]["metadata"].pop("annotations"),
    "docker-compose.yml has not": lambda m: container(m, "StatefulSet", "sink").update(image="millrace/drain:0.1.0"),
    "has no option MILLRACE_SERVICE_DRAIN_DELAI": lambda m: container(m, "Deployment", "ingest-api")["env"].append(
        {"name": "MILLRACE_SERVICE_DRAIN_DELAI", "value": "5s"}),
    "has no option topics.broker.min": lambda m: pod(m, "Job", next(
        one["metadata"]["name"] for one in m.of("Job")))["initContainers"][0]["args"].append("--topics.broker.min=3"),
    "no program has an option": lambda m: of(m, "ConfigMap", "millrace")["data"].update(MILLRACE_HTTP_HOTS="::"),
    "denies everything else": lambda m: remove(m, "NetworkPolicy", "default-deny"),
    "egress: processor may not reach kafka:9092": lambda m: remove(m, "NetworkPolicy", "kafka-clients"),
    "ingress: everybody may reach sink:8084": lambda m: of(m, "NetworkPolicy", "sink")["spec"]["ingress"][0].update(
        {"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}),
    "an example is applied": lambda m: m.applied.append(
        {"kind": "Secret", "metadata": {"name": "x", "namespace": "millrace"}}),
    "no savepoint can be asked for": lambda m: container(m, "StatefulSet", "processor")["env"].pop(),
    "are on no volume of their own": lambda m: of(m, "StatefulSet", "analytics")["spec"].pop("volumeClaimTemplates"),
    "is not its user's": lambda m: pod(m, "StatefulSet", "analytics")["securityContext"].pop("fsGroup"),
    "does not enforce restricted": lambda m: of(m, "Namespace", "millrace")["metadata"]["labels"].pop(
        "pod-security.kubernetes.io/enforce"),
}


@pytest.mark.parametrize("words", FAULTS)
def test_rules__find_what_is_planted(words: str) -> None:
    manifests = copy.deepcopy(Manifests())
    FAULTS[words](manifests)
    assert any(words in text for text in violations(manifests)), violations(manifests)
