"""deploy/k8s on a real cluster: applied, used, applied again, disturbed under load, deleted.

The tests run in the order of the file and build on each other. Every verdict recounts the ledger of
all of them (tools/harness/verify.py): nothing lost, nothing doubled.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster import MANIFESTS, NAMESPACE, Cluster, Forward, KubectlFailed, get, items, kubectl
from harness.ledger import LedgerWriter
from harness.orders import OrderMaker, OrderPoster
from harness.reader import SseStream, http_get
from harness.waiting import wait_for

RATE = 100


def test_apply__on_a_bare_cluster__converges(cluster: Cluster) -> None:
    cluster.apply()
    cluster.await_rollouts()
    for job in items("jobs"):
        kubectl("wait", f"job/{job['metadata']['name']}", "--for=condition=Complete", "--timeout=120s")
    cluster.start_reader()


def test_order__comes_out_as_a_metric(cluster: Cluster) -> None:
    maker = OrderMaker("k8s")
    with (Forward("service/ingest-api", 8080, cluster.run_dir) as ingest,
          Forward("service/query-api", 8081, cluster.run_dir) as query,
          SseStream(query.port, "/events/product-metrics") as stream,
          LedgerWriter(cluster.run_dir / "posted.ndjson") as ledger):
        stream.wait_open()
        poster = OrderPoster(ingest.port, ledger)
        cluster.posted.append(poster.post(maker.good("prod-3", amount="123.45")))
        assert cluster.posted[-1].status == 201
        stream.wait_until("the order's window", 30.0, lambda seen: any(
            event.json()["product_id"] == "prod-3" for event in seen.records()))
        assert http_get(query.port, "/").status == 200    # the dashboard
        cluster.posted.append(poster.post(maker.bad()))
        poster.close()
    cluster.require_exact()


def identities() -> dict[str, Any]:
    """What an apply without a change must leave alone: every object, and which pods run."""
    kinds = "all,configmaps,serviceaccounts,networkpolicies,poddisruptionbudgets,persistentvolumeclaims"
    return {f"{one['kind']}/{one['metadata']['name']}": (one["metadata"]["uid"], one["metadata"].get("generation"))
            for one in items(kinds)}


def test_apply_again__changes_nothing(cluster: Cluster) -> None:
    before = identities()
    assert kubectl("diff", "-f", str(MANIFESTS), accept=(0, 1)) == ""
    cluster.apply()
    cluster.await_rollouts()
    assert identities() == before


def test_restricted__a_pod_that_says_nothing_of_its_rights_is_refused(cluster: Cluster) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "careless"},
           "spec": {"containers": [{"name": "x", "image": "x"}]}}
    with pytest.raises(KubectlFailed, match="violates PodSecurity"):
        kubectl("apply", "-f", "-", stdin=json.dumps(pod))


def test_services__run_without_rights(cluster: Cluster) -> None:
    """As the manifests ask, and as the runtime gives it."""
    for pod in items("pods", "-l", "app.kubernetes.io/part-of=millrace"):
        assert not any("projected" in volume for volume in pod["spec"]["volumes"]), pod["metadata"]["name"]
        assert pod["status"]["phase"] in ("Running", "Succeeded")
        restarts = [status["restartCount"] for status in pod["status"]["containerStatuses"]]
        assert restarts == [0] * len(restarts), f"{pod['metadata']['name']} was restarted"


def test_pods_deleted_under_load__lose_and_double_nothing(cluster: Cluster) -> None:
    load = cluster.load(RATE)
    for pod in ("kafka-1", "processor-0", "analytics-1", "sink-0", cluster.pods("query-api")[0],
                cluster.pods("ingest-api")[0]):
        cluster.delete_pod(pod)
        load.await_acknowledged(RATE // 2)
    load.stop()
    cluster.require_exact()


def test_drain_under_load__keeps_to_the_budgets_and_loses_nothing(cluster: Cluster) -> None:
    """What `kubectl drain` asks for, for one pod of each workload, all of them at the same time."""
    load = cluster.load(RATE)
    names = [one.partition("/")[2] for one in cluster.workloads()]
    for name in names:
        first, *others = cluster.pods(name)
        assert cluster.evict(first), f"{first} could not be evicted though nothing else is away"
        for other in others[:1]:
            assert not cluster.evict(other), f"{other} was evicted while {first} is away"
    cluster.await_rollouts()
    load.await_acknowledged(RATE)
    load.stop()
    cluster.require_exact()


def test_rollout_under_load__of_the_services__fails_no_request(cluster: Cluster) -> None:
    load = cluster.load(RATE)
    services = [one for one in cluster.workloads() if one != "statefulset/kafka"]
    kubectl("rollout", "restart", *services)
    cluster.await_rollouts()
    load.await_acknowledged(RATE)
    load.stop()
    failed = [entry for entry in load.entries() if entry.status != 201]
    assert not failed, f"{len(failed)} of {len(load.entries())} requests failed: {failed[:3]}"
    cluster.require_exact()


def test_rollout_under_load__of_kafka__loses_and_doubles_nothing(cluster: Cluster) -> None:
    load = cluster.load(RATE)
    kubectl("rollout", "restart", "statefulset/kafka")
    cluster.await_rollouts()
    load.await_acknowledged(RATE)
    load.stop()
    cluster.require_exact()


def test_delete__leaves_nothing(cluster: Cluster) -> None:
    kubectl("delete", "-f", str(MANIFESTS), "--timeout=150s", seconds=180.0)
    wait_for("the namespace goes", 60.0,
             lambda: not kubectl("get", "namespace", NAMESPACE, "--ignore-not-found"), poll_seconds=0.5)
    claims = [volume["metadata"]["name"] for volume in get("persistentvolumes")["items"]
              if volume["spec"].get("claimRef", {}).get("namespace") == NAMESPACE
              and volume["status"]["phase"] == "Bound"]
    assert not claims
