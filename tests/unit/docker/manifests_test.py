"""Would Kubernetes take the manifests, and do their pods make one cluster that nobody else reaches?

No cluster runs them here. Their fields are checked against Kubernetes' own schemas; what they mean is
read by the program's own code, with the arguments and the environment that each pod would have.
"""

import pathlib

import kubernetes_validate
import pytest

from strategies.cluster import resolve
from strategies.cluster.spec import split_address
from strategies.errors import EXIT_BAD_INPUT, EXIT_FAULT, EXIT_RESUME
from tests.cluster import pods
from tests.cluster.manifests import DOCUMENTS, JOBS, SWEEP, TEMPLATES, labels, of, selects
from trainer.cli import parser as cli_parser
from trainer.tune.machines.role import CLIENT, LEADER, SweepCluster


def test_every_job_is_known_to_the_tests():
    assert {*JOBS} == {"muster-workers", "muster-ps", SWEEP}


@pytest.mark.parametrize("version", ["1.31", "1.35"])
def test_every_field_is_one_of_kubernetes(version):
    for file, document in DOCUMENTS:
        if document["kind"] == "TFJob":  # Kubeflow's own, whose pods are Kubernetes' again.
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": file}}
            kubernetes_validate.validate(pod | TEMPLATES["tfjob"], version, strict=True)
        else:
            kubernetes_validate.validate(document, version, strict=True)


def test_a_field_that_kubernetes_does_not_have_would_be_found():
    wrong = {**of("Service", "muster-ps"), "spec": {"clusterIp": "None"}}
    with pytest.raises(kubernetes_validate.ValidationError, match="clusterIp"):
        kubernetes_validate.validate(wrong, "1.31", strict=True)


# Who may do what.


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_pod_may_do_as_little_as_the_restricted_standard_lets_it(name):
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
def test_what_is_written_has_a_place_on_a_root_that_cannot_be(name):
    (container,) = TEMPLATES[name]["spec"]["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in TEMPLATES[name]["spec"]["volumes"]}
    assert "emptyDir" in volumes[mounts["/tmp"]]
    claim = volumes[mounts["/workspace/runs"]]["persistentVolumeClaim"]["claimName"]
    assert of("PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteMany"]
    (workdir,) = [arg for arg in container["args"] if arg.startswith("--workdir=")]
    assert pathlib.PurePath(workdir.partition("=")[2]).is_relative_to("/workspace/runs")


@pytest.mark.parametrize("name", JOBS)
def test_every_pod_asks_for_what_it_may_take(name):
    (container,) = JOBS[name]["spec"]["template"]["spec"]["containers"]
    for bound in ("requests", "limits"):
        assert {*container["resources"][bound]} == {"cpu", "memory", "ephemeral-storage"}
    # A share of a core would make TensorFlow's threads wait for each other.
    assert container["resources"]["limits"]["cpu"].isdigit()


def served(name):
    """The port on which a Job's pods are reached."""
    (port,) = {split_address(one)[1] for one in pods.addresses(pods.of(JOBS[name])[0])}
    return port


@pytest.mark.parametrize("name", JOBS)
def test_only_pods_of_the_same_run_reach_a_port_and_only_that_one(name):
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
def test_every_task_knows_the_secret(name):
    for pod in pods.of(JOBS[name]):
        assert cli_parser.parse(pod.args).secret_file == "/secret/secret"
    spec = JOBS[name]["spec"]["template"]["spec"]
    (volume,) = [one for one in spec["volumes"] if "secret" in one]
    assert volume["secret"] == {"secretName": "muster", "defaultMode": 0o440}
    assert spec["securityContext"]["fsGroup"] > 0  # The group that may read it.


# What an end means.


def action(job, code, conditions=()):
    """What the Job's policy does about a pod that failed so, by its first rule that fits."""
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes", {"containerName": "muster", "operator": "In", "values": []})
        assert codes["containerName"] == "muster" and codes["operator"] == "In"
        wanted = {one["type"] for one in rule.get("onPodConditions", []) if one["status"] == "True"}
        if code in codes["values"] or wanted & {*conditions}:
            return rule["action"]
    return "Count"


@pytest.mark.parametrize("name", JOBS)
def test_bad_input_ends_the_job_and_resume_me_starts_again_uncounted(name):
    job = JOBS[name]
    assert action(job, EXIT_BAD_INPUT) == "FailJob"
    assert action(job, EXIT_RESUME) == "Ignore"
    assert action(job, EXIT_FAULT) == action(job, 137) == "Count"
    assert action(job, 137, ["DisruptionTarget"]) == "Ignore"
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"  # Or there may be no policy.
    assert job["spec"]["activeDeadlineSeconds"] > 0  # Nothing else bounds what is not counted.


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
def test_every_task_is_listed_at_the_name_that_its_pod_has(name):
    service = of("Service", JOBS[name]["spec"]["template"]["spec"]["subdomain"])
    assert service["spec"]["clusterIP"] == "None" and selects(service["spec"]["selector"], name)
    assert service["spec"]["publishNotReadyAddresses"]  # They meet before anything is ready.
    for index, pod in enumerate(pods.of(JOBS[name])):
        found = pods.cluster_of(pod)
        host, port = split_address(found.address(found.task))
        assert host == f"{name}-{index}.{service['metadata']['name']}"
        assert port == service["spec"]["ports"][0]["port"]


def test_the_index_gives_a_chief_servers_and_workers():
    found = [pods.cluster_of(pod) for pod in pods.of(JOBS["muster-ps"])]
    tasks = [str(one.task) for one in found]
    assert tasks == ["chief 0", "ps 0", "ps 1", "worker 0", "worker 1"]


def test_of_a_sweep_the_first_hands_out_the_trials_and_all_run_them():
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
