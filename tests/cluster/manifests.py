"""Which objects do the Kubernetes manifests define?

`DOCUMENTS` has all of them, `JOBS` the Jobs by name, and `TEMPLATES` the pod templates.
"""

import yaml

from tests.paths import ROOT

FOLDER = ROOT / "docker" / "kubernetes"
DOCUMENTS = [
    (path.stem, document)
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
JOBS = {
    document["metadata"]["name"]: document for _, document in DOCUMENTS if document["kind"] == "Job"
}
SWEEP = "muster-sweep"
TRAINING_JOB = next(document for _, document in DOCUMENTS if document["kind"] == "TFJob")
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
