"""Are the manifests valid, and do their pods form one cluster that no other pod can reach?

No cluster runs them here. Their fields are checked against Kubernetes' schemas. The program's own code
reads the arguments and the environment that each pod would have.
"""

import pathlib

import kubeflow_trainer_api.models
import kubernetes_validate
import pytest

from strategies.cluster import resolve
from strategies.cluster.spec import split_address
from strategies.errors import EXIT_BAD_INPUT, EXIT_FAULT, EXIT_RESUME
from tests.cluster import pods
from tests.cluster.manifests import (
    DOCUMENTS,
    JOBS,
    KUBEFLOWS,
    RUNTIME,
    SWEEP,
    TEMPLATES,
    TRAIN_JOB,
    TRAINJOBS_JOB,
    labels,
    of,
    selects,
)
from trainer.cli import parser as cli_parser
from trainer.tune.machines.role import CLIENT, LEADER, SweepCluster


def test_every_job_has_tests():
    assert {*JOBS} == {"muster-workers", "muster-ps", SWEEP, TRAINJOBS_JOB}


@pytest.mark.parametrize("version", ["1.31", "1.35"])
def test_every_field_is_in_kubernetes_schema(version):
    for _, document in DOCUMENTS:
        if document["kind"] not in KUBEFLOWS:
            kubernetes_validate.validate(document, version, strict=True)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tfjob"}}
    kubernetes_validate.validate(pod | TEMPLATES["tfjob"], version, strict=True)


@pytest.mark.parametrize("document", [TRAIN_JOB, RUNTIME], ids=lambda one: one["kind"])
def test_every_field_of_the_trainjob_is_in_the_models_of_kubeflows_client(document):
    """They drop fields that they do not know."""
    model = getattr(kubeflow_trainer_api.models, f"TrainerV1alpha1{document['kind']}")
    assert model.from_dict(document).to_dict() == document
    wrong = {**document, "spec": {**document["spec"], "numNode": 2}}
    assert model.from_dict(wrong).to_dict() != wrong


def test_the_trainjob_names_its_runtime_which_is_as_trainer_requires():
    spec = TRAIN_JOB["spec"]
    assert spec["runtimeRef"] == {
        "apiGroup": "trainer.kubeflow.org",
        "kind": "TrainingRuntime",
        "name": RUNTIME["metadata"]["name"],
    }
    assert RUNTIME["spec"]["mlPolicy"] == {"numNodes": spec["trainer"]["numNodes"]}  # PlainML.
    (replicated,) = RUNTIME["spec"]["template"]["spec"]["replicatedJobs"]
    step = "trainer.kubeflow.org/trainjob-ancestor-step"
    assert replicated["template"]["metadata"]["labels"] == {step: "trainer"}
    (container,) = TEMPLATES[TRAINJOBS_JOB]["spec"]["containers"]
    assert replicated["name"] == container["name"] == "node"


def test_an_unknown_field_would_be_found():
    wrong = {**of("Service", "muster-ps"), "spec": {"clusterIp": "None"}}
    with pytest.raises(kubernetes_validate.ValidationError, match="clusterIp"):
        kubernetes_validate.validate(wrong, "1.31", strict=True)


# Permissions.


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_pod_satisfies_the_restricted_security_standard(name):
    pod = TEMPLATES[name]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & {*pod}
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]} and "privileged" not in context
        assert all("hostPort" not in port for port in container.get("ports", []))
    assert {kind for volume in pod["volumes"] for kind in volume} <= {
        "name", "emptyDir", "persistentVolumeClaim", "secret",
    }  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_written_path_is_on_a_volume(name):
    (container,) = TEMPLATES[name]["spec"]["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in TEMPLATES[name]["spec"]["volumes"]}
    assert "emptyDir" in volumes[mounts["/tmp"]]
    claim = volumes[mounts["/workspace/runs"]]["persistentVolumeClaim"]["claimName"]
    assert of("PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteMany"]
    (workdir,) = [arg for arg in container["args"] if arg.startswith("--workdir=")]
    assert pathlib.PurePath(workdir.partition("=")[2]).is_relative_to("/workspace/runs")


@pytest.mark.parametrize("name", JOBS)
def test_every_pod_requests_what_its_limits_allow(name):
    (container,) = JOBS[name]["spec"]["template"]["spec"]["containers"]
    for bound in ("requests", "limits"):
        assert {*container["resources"][bound]} == {"cpu", "memory", "ephemeral-storage"}
    # With a fraction of a core TensorFlow's threads would wait for each other.
    assert container["resources"]["limits"]["cpu"].isdigit()


def served(name):
    """The port on which a Job's pods listen."""
    (port,) = {split_address(one)[1] for one in pods.addresses(pods.of(JOBS[name])[0])}
    return port


@pytest.mark.parametrize("name", JOBS)
def test_only_pods_of_the_same_run_can_connect_and_only_to_one_port(name):
    run = labels(name)["app.kubernetes.io/instance"]
    (policy,) = [
        document
        for _, document in DOCUMENTS
        if document["kind"] == "NetworkPolicy"
        and selects(document["spec"]["podSelector"]["matchLabels"], name)
    ]
    assert {*policy["spec"]["policyTypes"]} == {"Ingress", "Egress"}
    same = [{"podSelector": {"matchLabels": {"app.kubernetes.io/instance": run}}}]
    ports = [{"protocol": "TCP", "port": served(name)}]
    assert policy["spec"]["ingress"] == [{"from": same, "ports": ports}]
    to_each_other, to_names = policy["spec"]["egress"]
    assert to_each_other == {"to": same, "ports": ports}
    assert {(port["protocol"], port["port"]) for port in to_names["ports"]} == {
        ("UDP", 53),
        ("TCP", 53),
    }
    assert all({*peer} == {"namespaceSelector", "podSelector"} for peer in to_names["to"])


@pytest.mark.parametrize("name", JOBS)
def test_every_task_has_the_secret(name):
    for pod in pods.of(JOBS[name]):
        assert cli_parser.parse(pod.args).secret_file == "/secret/secret"
    spec = JOBS[name]["spec"]["template"]["spec"]
    (volume,) = [one for one in spec["volumes"] if "secret" in one]
    assert volume["secret"] == {"secretName": "muster", "defaultMode": 0o440}
    assert spec["securityContext"]["fsGroup"] > 0  # This group may read it.


# Exit codes.


def action(job, code, conditions=()):
    """The action of the Job's policy for a failed pod: that of the first rule that matches."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    none = {"containerName": container["name"], "operator": "In", "values": []}
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes", none)
        assert codes["containerName"] == container["name"] and codes["operator"] == "In"
        wanted = {one["type"] for one in rule.get("onPodConditions", []) if one["status"] == "True"}
        if code in codes["values"] or wanted & {*conditions}:
            return rule["action"]
    return "Count"


@pytest.mark.parametrize("name", JOBS)
def test_bad_input_ends_the_job_and_a_resumable_end_restarts_without_being_counted(name):
    job = JOBS[name]
    assert action(job, EXIT_BAD_INPUT) == "FailJob"
    assert action(job, EXIT_RESUME) == "Ignore"
    assert action(job, EXIT_FAULT) == action(job, 137) == "Count"
    assert action(job, 137, ["DisruptionTarget"]) == "Ignore"
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"  # A policy requires this.
    assert job["spec"]["activeDeadlineSeconds"] > 0  # Nothing else limits the uncounted restarts.


@pytest.mark.parametrize("name", JOBS)
def test_a_pod_has_the_time_to_save(name):
    pod = pods.of(JOBS[name])[0]
    options = cli_parser.parse(pod.args)
    grace_s = options.grace_s if options.verb == "tune" else options.stop_grace_s
    assert JOBS[name]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= grace_s + 20


# One cluster.


@pytest.mark.parametrize("name", JOBS)
def test_the_pods_of_a_job_are_the_tasks_of_one_cluster(name):
    job = JOBS[name]["spec"]
    assert job["completionMode"] == "Indexed" and job["completions"] == job["parallelism"]
    found = [pods.cluster_of(pod) for pod in pods.of(JOBS[name])]
    assert len({one.fingerprint() for one in found}) == 1
    assert sorted(one.task for one in found) == sorted(found[0].tasks())
    assert sum(one.is_leader for one in found) == 1


@pytest.mark.parametrize("name", JOBS)
def test_every_task_is_listed_by_the_dns_name_of_its_pod(name):
    service = of("Service", JOBS[name]["spec"]["template"]["spec"]["subdomain"])
    assert service["spec"]["clusterIP"] == "None" and selects(service["spec"]["selector"], name)
    assert service["spec"]["publishNotReadyAddresses"]  # They connect before they are ready.
    for index, pod in enumerate(pods.of(JOBS[name])):
        found = pods.cluster_of(pod)
        host, port = split_address(found.address(found.task))
        assert host == f"{name}-{index}.{service['metadata']['name']}"
        # JobSet's Service names no ports; a name's address does not need any.
        assert all(one["port"] == port for one in service["spec"].get("ports", []))


def test_the_completion_index_selects_chief_servers_and_workers():
    found = [pods.cluster_of(pod) for pod in pods.of(JOBS["muster-ps"])]
    tasks = [str(one.task) for one in found]
    assert tasks == ["chief 0", "ps 0", "ps 1", "worker 0", "worker 1"]


def test_the_first_pod_of_a_sweep_assigns_the_trials_and_all_run_them():
    found = pods.of(JOBS[SWEEP])
    parts = [
        SweepCluster.find(cli_parser.parse(pod.args).cluster_flags, pod.environ) for pod in found
    ]
    assert [part.role for part in parts] == [LEADER, CLIENT, CLIENT, CLIENT]
    assert len({part.address for part in parts}) == 1


def test_a_tfjobs_tf_config_is_read():
    names = [f"muster-worker-{index}.default.svc:2222" for index in range(2)]
    task = '{"type": "worker", "index": 1}'
    written = f'{{"cluster": {{"worker": {names!r}}}, "task": {task}, "environment": "cloud"}}'
    pod = pods.Pod(TEMPLATES["tfjob"]["spec"]["containers"][0]["args"], {})
    found = resolve.find(
        cli_parser.parse(pod.args).cluster_flags, {"TF_CONFIG": written.replace("'", '"')}
    )
    assert str(found) == "worker 1 in a cluster of 2 workers"
