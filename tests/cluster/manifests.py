"""Which objects do the Kubernetes manifests define?

`DOCUMENTS` has all of them, with the Job and the Service that Kubeflow's and JobSet's controllers create
for the TrainJob; `JOBS` has the Jobs by name, and `TEMPLATES` the pod templates.
"""

import copy

import yaml

from tests.paths import ROOT

FOLDER = ROOT / "docker" / "kubernetes"
WRITTEN = [
    (path.stem, document)
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
KUBEFLOWS = ("TFJob", "TrainJob", "TrainingRuntime")


def _only(kind):
    (found,) = [document for _, document in WRITTEN if document["kind"] == kind]
    return found


TRAINING_JOB, TRAIN_JOB, RUNTIME = map(_only, KUBEFLOWS)


def _created():
    """What the controllers create for the TrainJob, from its runtime."""
    name, job_set = TRAIN_JOB["metadata"]["name"], RUNTIME["spec"]["template"]["spec"]
    (replicated,) = job_set["replicatedJobs"]
    job = copy.deepcopy(replicated["template"])
    nodes = TRAIN_JOB["spec"]["trainer"]["numNodes"]
    job["spec"] |= {"completionMode": "Indexed", "completions": nodes, "parallelism": nodes}
    pod, label = job["spec"]["template"], {"jobset.sigs.k8s.io/jobset-name": name}
    pod["metadata"]["labels"] |= label
    pod["spec"]["subdomain"] = name
    pod["spec"]["containers"][0]["args"] = TRAIN_JOB["spec"]["trainer"]["args"]
    job |= {"apiVersion": "batch/v1", "kind": "Job"}
    job["metadata"]["name"] = f"{name}-{replicated['name']}-0"
    spec = {"clusterIP": "None", "selector": label}
    spec["publishNotReadyAddresses"] = job_set["network"]["publishNotReadyAddresses"]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
    return [("trainjob", job), ("trainjob", service)]


DOCUMENTS = [*WRITTEN, *_created()]
JOBS = {
    document["metadata"]["name"]: document for _, document in DOCUMENTS if document["kind"] == "Job"
}
SWEEP = "muster-sweep"
TRAINJOBS_JOB = "muster-trainjob-node-0"
TEMPLATES = {name: job["spec"]["template"] for name, job in JOBS.items()} | {
    "tfjob": TRAINING_JOB["spec"]["tfReplicaSpecs"]["Worker"]["template"]
}


def of(kind, name):
    """The only object of this kind and name."""
    (found,) = [
        document
        for _, document in DOCUMENTS
        if document["kind"] == kind and document["metadata"]["name"] == name
    ]
    return found


def labels(name):
    return JOBS[name]["spec"]["template"]["metadata"]["labels"]


def selects(selector, name):
    return selector.items() <= labels(name).items()
