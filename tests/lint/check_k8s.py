"""deploy/k8s keeps to the rules of this project, which no schema knows: what is derived is fresh, every
pod is restricted, probed, bounded and drained, every edge of the network is wanted, every option exists.
Each rule yields its violations; tests/k8s/test_manifests.py plants a fault for each."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
from typing import Any, Callable, Iterator

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/k8s"
Object = dict[str, Any]

# The services' ports, the same as in docker-compose.yml and as their defaults.
PORTS = {"ingest-api": 8080, "query-api": 8081, "processor": 8082, "analytics": 8083, "sink": 8084}
CLIENTS = ("ingest-api", "query-api", "processor", "analytics", "sink", "topics")
DRAIN_DEFAULTS = {"MILLRACE_SERVICE_DRAIN_DELAY": "0", "MILLRACE_SERVICE_DRAIN_TIMEOUT": "10s"}

# Who may talk to whom, and nothing else; (namespace label) or (pod name).
EDGES = {
    ("any pod", "dns", 53),
    *((client, "kafka", 9092) for client in CLIENTS),
    ("kafka", "kafka", 9092), ("kafka", "kafka", 9093),
    ("event-generator", "ingest-api", 8080),
    ("millrace/client", "ingest-api", 8080), ("millrace/client", "query-api", 8081),
    *(("millrace/scrape", service, port) for service, port in PORTS.items()),
}


class Manifests:
    """The applied files, and the examples beside them."""

    def __init__(self, folder: pathlib.Path = FOLDER) -> None:
        self.applied = [one for path in sorted(folder.glob("*.yaml")) for one in load(path.read_text())]
        self.examples = [one for path in sorted(folder.glob("examples/*.yaml")) for one in load(path.read_text())]

    def of(self, *kinds: str) -> list[Object]:
        return [one for one in self.applied if one["kind"] in kinds]

    def workloads(self) -> list[Object]:
        return [one for one in [*self.applied, *self.examples] if "template" in one.get("spec", {})]

    def config(self, name: str) -> dict[str, str]:
        return next((one["data"] for one in self.of("ConfigMap") if name_of(one) == name), {})


def load(text: str) -> list[Object]:
    return [one for one in yaml.safe_load_all(text) if one]


def name_of(one: Object) -> str:
    return str(one["metadata"]["name"])


def program_of(one: Object) -> str:
    """What a workload runs: the name that its pods carry."""
    return str(one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"])


def containers_of(one: Object) -> list[Object]:
    pod = one["spec"]["template"]["spec"]
    return [*pod.get("initContainers", []), *pod["containers"]]


def is_matched(selector: Object, labels: dict[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def seconds(duration: str) -> int:
    match = re.fullmatch(r"(\d+)(s|m|)", duration)
    if not match:
        raise ValueError(f"{duration!r} is not in seconds or minutes")
    return int(match[1]) * {"s": 1, "m": 60, "": 1}[match[2]]


def options() -> dict[str, set[str]]:
    """Program: its keys, from docs/configuration.md."""
    found: dict[str, set[str]] = {}
    for section in re.split(r"(?m)^## ", (ROOT / "docs/configuration.md").read_text())[1:]:
        found[section.split("\n", 1)[0].strip()] = set(re.findall(r"(?m)^\| `([^`]+)` \|", section))
    return found


# --- Rules ----------------------------------------------------------------------------------------


def rule_restricted(manifests: Manifests) -> Iterator[str]:
    for one in manifests.workloads():
        pod = one["spec"]["template"]["spec"]
        security = pod.get("securityContext", {})
        wanted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        if any(security.get(key) != value for key, value in wanted.items()) or not security.get("runAsUser"):
            yield f"{name_of(one)}: its pods are not restricted to a numeric user and the default seccomp profile"
        if pod.get("automountServiceAccountToken") is not False or pod.get("serviceAccountName") != program_of(one):
            yield f"{name_of(one)}: its pods have no account of their own without a token"
        if pod.get("enableServiceLinks") is not False:
            yield f"{name_of(one)}: services would come as environment"
        for container in containers_of(one):
            if container.get("securityContext") != {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                                    "capabilities": {"drop": ["ALL"]}}:
                yield f"{name_of(one)}/{container['name']}: more rights than none"
        for volume in pod.get("volumes", []):
            if not {"configMap", "secret", "emptyDir"} & set(volume):
                yield f"{name_of(one)}: volume {volume['name']} is of no restricted sort"
            if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
                yield f"{name_of(one)}: volume {volume['name']} has no bound"


def rule_bounded(manifests: Manifests) -> Iterator[str]:
    for one in manifests.workloads():
        for container in containers_of(one):
            for side in ("requests", "limits"):
                if set(container.get("resources", {}).get(side, {})) != {"cpu", "memory", "ephemeral-storage"}:
                    yield f"{name_of(one)}/{container['name']}: {side} are not cpu, memory and ephemeral-storage"


def rule_images(manifests: Manifests) -> Iterator[str]:
    version = re.search(r"project\(millrace VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())
    for one in manifests.workloads():
        for container in containers_of(one):
            image = container["image"]
            if image.startswith("millrace/") and image.rpartition(":")[2] != version[1]:
                yield f"{name_of(one)}: {image} is not of version {version[1]}"
            if not image.startswith("millrace/") and image != "apache/kafka:4.1.0":
                yield f"{name_of(one)}: {image} is none of ours"
            if container.get("imagePullPolicy") != "IfNotPresent":
                yield f"{name_of(one)}: {image} would be pulled though it is there"


def rule_probed(manifests: Manifests) -> Iterator[str]:
    paths = {"startupProbe": "/health/live", "readinessProbe": "/health/ready", "livenessProbe": "/health/live"}
    for one in manifests.of("Deployment", "StatefulSet"):
        for container in containers_of(one):
            for probe, path in paths.items():
                found = container.get(probe, {})
                if name_of(one) in PORTS and found.get("httpGet") != {"path": path, "port": "http"}:
                    yield f"{name_of(one)}: {probe} does not ask {path}"
                elif not found:
                    yield f"{name_of(one)}: has no {probe}"


def rule_drained(manifests: Manifests) -> Iterator[str]:
    """The pod's grace covers the delay and the drain; who is behind a Service has a delay."""
    shared = manifests.config("millrace")
    for one in manifests.of("Deployment", "StatefulSet"):
        if name_of(one) not in PORTS:
            continue
        own = {row["name"]: row.get("value", "") for row in containers_of(one)[0].get("env", [])}
        values = {key: seconds(own.get(key) or shared.get(key) or text) for key, text in DRAIN_DEFAULTS.items()}
        grace = one["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", 30)
        if grace <= sum(values.values()):
            yield f"{name_of(one)}: grace of {grace} s is not longer than its drain of {sum(values.values())} s"
        if one["kind"] == "Deployment" and values["MILLRACE_SERVICE_DRAIN_DELAY"] < 3:
            yield f"{name_of(one)}: refuses before the endpoints' change can have travelled"


def rule_rolled(manifests: Manifests) -> Iterator[str]:
    """Never fewer than there were, one more at most; the autoscaler alone says how many."""
    scaled = {one["spec"]["scaleTargetRef"]["name"]: one for one in manifests.of("HorizontalPodAutoscaler")}
    for one in manifests.of("Deployment"):
        spec = one["spec"]
        if spec.get("strategy", {}).get("rollingUpdate") != {"maxUnavailable": 0, "maxSurge": 1}:
            yield f"{name_of(one)}: a rollout takes away before it adds"
        if not spec.get("minReadySeconds"):
            yield f"{name_of(one)}: a pod counts as soon as it is ready"
        if name_of(one) not in scaled or "replicas" in spec:
            yield f"{name_of(one)}: its replicas are not the autoscaler's"
    for name, one in scaled.items():
        if one["spec"].get("behavior", {}).get("scaleDown", {}).get("stabilizationWindowSeconds", 0) < 300:
            yield f"{name}: scales down in haste"
        if one["spec"]["minReplicas"] < 2:
            yield f"{name}: one replica is none during a restart"


def rule_budgets(manifests: Manifests) -> Iterator[str]:
    for one in manifests.of("Deployment", "StatefulSet"):
        labels = one["spec"]["template"]["metadata"]["labels"]
        budgets = [pdb for pdb in manifests.of("PodDisruptionBudget") if is_matched(pdb["spec"]["selector"], labels)]
        if [pdb["spec"].get("maxUnavailable") for pdb in budgets] != [1]:
            yield f"{name_of(one)}: has not one disruption budget of one pod"


def rule_identity(manifests: Manifests) -> Iterator[str]:
    """A worker's transactions belong to its pod's name, which only a StatefulSet keeps."""
    for one in manifests.of("Deployment", "StatefulSet"):
        if name_of(one) in ("processor", "analytics"):
            rows = {row["name"]: row.get("valueFrom") for row in containers_of(one)[0].get("env", [])}
            if one["kind"] != "StatefulSet" or rows.get("MILLRACE_INSTANCE_ID") != {
                    "fieldRef": {"fieldPath": "metadata.name"}}:
                yield f"{name_of(one)}: instance.id is not its pod's stable name"


def rule_services(manifests: Manifests) -> Iterator[str]:
    services = {name_of(one): one["spec"] for one in manifests.of("Service")}
    for name, port in PORTS.items():
        ports = services.get(name, {}).get("ports", [])
        if [(row["port"], row["targetPort"]) for row in ports] != [(port, "http")]:
            yield f"Service {name}: is not at {port}"
    for one in manifests.of("Deployment", "StatefulSet"):
        if name_of(one) in PORTS:
            port = PORTS[name_of(one)]
            notes = one["spec"]["template"]["metadata"].get("annotations", {})
            if notes.get("prometheus.io/port") != str(port) or notes.get("prometheus.io/scrape") != "true":
                yield f"{name_of(one)}: Prometheus would not find it at {port}"
            if {"name": "http", "containerPort": port} not in containers_of(one)[0].get("ports", []):
                yield f"{name_of(one)}: does not name its port {port}"


def rule_compose(manifests: Manifests) -> Iterator[str]:
    """The services have the names, the images and the ports that they have in Compose."""
    composed = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for one in manifests.of("Deployment", "StatefulSet"):
        name = name_of(one)
        if name not in PORTS:
            continue
        image = containers_of(one)[0]["image"].partition(":")[0]
        other = composed.get(name, {})
        if other.get("image", "").partition(":")[0] != image:
            yield f"{name}: docker-compose.yml has not {image} under this name"
        if any(not port.endswith(f":{PORTS[name]}") for port in other.get("ports", [])):
            yield f"{name}: docker-compose.yml has it at another port than {PORTS[name]}"


def option_rows(one: Object, manifests: Manifests) -> Iterator[tuple[str, str]]:
    """(program, option as environment or flag) of every option that a workload sets."""
    for container in containers_of(one):
        program = container["image"].rpartition("/")[2].partition(":")[0]
        for row in container.get("env", []):
            if row["name"].startswith("MILLRACE_"):
                yield program, row["name"]
        for flag in container.get("args", []):
            yield program, flag.partition("=")[0].removeprefix("--")


def rule_options(manifests: Manifests) -> Iterator[str]:
    """An unknown variable is nobody's, so it is ignored: a slip of the pen would go unseen."""
    known = options()
    names = {program: {*keys, *("MILLRACE_" + re.sub(r"[.-]", "_", key).upper() for key in keys)}
             for program, keys in known.items()}
    for one in manifests.workloads():
        for program, name in option_rows(one, manifests):
            if name not in names.get(program, set()):
                yield f"{name_of(one)}: {program} has no option {name}"
    every = set().union(*names.values())
    for one in [*manifests.applied, *manifests.examples]:
        for key in one["data"] if one["kind"] == "ConfigMap" and name_of(one).startswith("millrace") else ():
            if key not in every and not key.startswith("MILLRACE_KAFKA_"):    # librdkafka's own
                yield f"ConfigMap {name_of(one)}: no program has an option {key}"


def peers(rule: Object, direction: str) -> list[str]:
    found = []
    for peer in rule[direction]:
        labels = {**peer.get("namespaceSelector", {}).get("matchLabels", {}),
                  **peer.get("podSelector", {}).get("matchLabels", {})}
        found.append(labels.get("app.kubernetes.io/name") or ("dns" if labels.get("k8s-app") == "kube-dns" else None)
                     or next(iter(labels), "everybody"))
    return found


def edges_of(manifests: Manifests, side: str) -> set[tuple[str, str, int]]:
    """(from, to, port) that policies allow at one side; a group of pods is named by its members."""
    groups = {"millrace/kafka-client": [program_of(one) for one in manifests.workloads()
                                        if "millrace/kafka-client" in one["spec"]["template"]["metadata"]["labels"]]}
    found = set()
    for one in manifests.of("NetworkPolicy"):
        labels = one["spec"]["podSelector"].get("matchLabels", {})
        own = labels.get("app.kubernetes.io/name") or next(iter(labels), "any pod")
        for rule in one["spec"].get(side, []):
            for peer in peers(rule, "from" if side == "ingress" else "to"):
                for port in rule["ports"]:
                    for mine in groups.get(own, [own]):
                        for other in groups.get(peer, [peer]):
                            ends = (other, mine) if side == "ingress" else (mine, other)
                            found.add((*ends, port["port"]))
    return found


def rule_edges(manifests: Manifests) -> Iterator[str]:
    """Both ends of every wanted edge, and of no other. What is outside has one end here."""
    if not any(one["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
               for one in manifests.of("NetworkPolicy")):
        yield "no policy denies everything else"
    outside = ("millrace/client", "millrace/scrape")
    wanted = {"ingress": {edge for edge in EDGES if edge[1] != "dns"},
              "egress": {edge for edge in EDGES if edge[0] not in outside}}
    for side, edges in wanted.items():
        found = edges_of(manifests, side)
        for edge in sorted(edges - found):
            yield f"{side}: {edge[0]} may not reach {edge[1]}:{edge[2]}, but has to"
        for edge in sorted(found - edges):
            yield f"{side}: {edge[0]} may reach {edge[1]}:{edge[2]}, but has no business there"


def rule_placed(manifests: Manifests) -> Iterator[str]:
    for one in manifests.applied:
        if one["kind"] == "Secret":
            yield f"Secret {name_of(one)}: an example is applied to every cluster"
        if one["kind"] != "Namespace" and one["metadata"].get("namespace") != "millrace":
            yield f"{one['kind']} {name_of(one)}: is not in the namespace"
        if one["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") != "millrace":
            yield f"{one['kind']} {name_of(one)}: is not labelled as part of millrace"
    labels = manifests.of("Namespace")[0]["metadata"]["labels"]
    for mode in ("enforce", "warn", "audit"):
        if labels.get(f"pod-security.kubernetes.io/{mode}") != "restricted":
            yield f"Namespace: Pod Security does not {mode} restricted"


def rule_savepoints(manifests: Manifests) -> Iterator[str]:
    """What workers write savepoints to outlives their pods, and they may write there."""
    for name in ("processor", "analytics"):
        one = next(found for found in manifests.of("StatefulSet") if name_of(found) == name)
        (container,) = containers_of(one)
        folders = [row.get("value") for row in container.get("env", []) if row["name"] == "MILLRACE_SAVEPOINT_DIR"]
        claims = {name_of(claim) for claim in one["spec"].get("volumeClaimTemplates", [])}
        mounted = [mount for mount in container["volumeMounts"] if mount["mountPath"] in folders]
        if not folders:
            yield f"{name}: no savepoint can be asked for"
        elif not any(mount["name"] in claims and not mount.get("readOnly") for mount in mounted):
            yield f"{name}: savepoints in {folders[0]} are on no volume of their own"
        elif not one["spec"]["template"]["spec"]["securityContext"].get("fsGroup"):
            yield f"{name}: savepoints' volume is not its user's"


RULES: list[Callable[[Manifests], Iterator[str]]] = [
    rule_restricted, rule_bounded, rule_images, rule_probed, rule_drained, rule_rolled, rule_budgets,
    rule_identity, rule_services, rule_compose, rule_options, rule_edges, rule_placed, rule_savepoints]


def violations(manifests: Manifests) -> list[str]:
    return [text for rule in RULES for text in rule(manifests)]


def main() -> int:
    stale = subprocess.run([sys.executable, "-B", FOLDER / "generate.py", "--check"], check=False).returncode
    found = violations(Manifests())
    print("\n".join(found) or f"{len(RULES)} rules, no violation")
    return bool(found) or bool(stale)


if __name__ == "__main__":
    sys.exit(main())
