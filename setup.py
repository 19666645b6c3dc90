"""The package `muster`: what it needs, and why."""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def version():
    """`__version__` as text: importing the package would need packages that are not installed yet."""
    source = (HERE / "trainer" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)[1]


def readme():
    """The front page; "" where only what installing needs was copied, as for an image's packages."""
    page = HERE / "README.md"
    return page.read_text(encoding="utf-8") if page.exists() else ""


# Another build of it, if this variable names one: the images use tensorflow-cpu, which is smaller.
TENSORFLOW = os.environ.get("MUSTER_TENSORFLOW", "tensorflow")

TUNE = [
    "keras-tuner>=1.4.8,<1.5",  # Its oracles propose a sweep's values, wrapped by keras_tuner_oracles.py.
    "PyYAML",  # Spaces in YAML.
    "matplotlib",  # Plots of sweeps and shares; without it there are none, and a line says so.
]

HF = [
    "datasets>=4",  # Hugging Face's data sets, as sources.
]

GS = [
    "google-cloud-storage>=3",  # Workdirs at gs://; TensorFlow's file system lacks generations.
]

S3 = [
    "obstore>=0.12",  # Workdirs at s3://; it takes conditional writes, and needs no other package.
    "boto3",  # Credentials of profiles and of `aws sso login`, which obstore does not read.
]

AZ = [
    "obstore>=0.12",  # Workdirs at az://.
]

ONNX = [
    "tf2onnx",  # Keras writes .onnx through it.
    "onnxruntime",  # Runs what was written: `export` measures it, `predict` answers with it.
]

PRIVACY = [
    "dp-accounting>=0.6",  # Epsilon, by privacy loss distributions.
]

HOMOMORPHIC = [
    "tenseal>=0.3.16",  # Sums of encrypted updates.
]

# For a TPU, with MUSTER_TENSORFLOW=tensorflow-tpu. It ends at 2.20 and aborts with a newer libtpu.
TPU = [
    "tensorflow-tpu==2.20.0",
    "libtpu==0.0.24",
    "keras==3.15.1",
]
# To find a TPU by its name, as needed with several hosts.
TPU_NAME = ["google-api-python-client", "oauth2client"]
TPU_CHECK = [  # As `tpucheck`: before 23.3 pip does not find an extra of two words.
    *TPU,
    *TPU_NAME,
    "jax[tpu]==0.8.0",  # As old as that libtpu; tpu/compiler.py calls the TPU's compiler through it.
]

setup(
    name="muster",
    version=version(),
    description="One Keras 3 trainer for whatever cluster TF_CONFIG describes",
    long_description=readme(),
    long_description_content_type="text/markdown",
    keywords="keras tensorflow distributed training parameter server hyperparameter sweep",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(
        include=["configs", "strategies", "strategies.*", "trainer", "trainer.*"]
    ),
    package_data={
        "trainer": ["py.typed", "reporting/report/templates/*"],
        "strategies": ["py.typed"],
    },
    # TensorFlow has wheels for 3.10 to 3.13. 3.10 gets an older Keras than the others, and ends in 2026.
    python_requires=">=3.11,<3.14",
    install_requires=[
        f"{TENSORFLOW}>=2.20,<2.22",  # The two releases that model/optimizers.py was tested with.
        "keras>=3.10",  # Models, losses, metrics and optimizers.
        "h5py",  # Weights in files of Keras, which brings it.
        "tensorboard",  # tf.summary writes nothing without it, and no longer brings it.
        "tensorflow-datasets>=4.9.10",  # MNIST and other data sets, through its own builders.
        "importlib_resources",  # tensorflow-datasets 4.9.10 needs it and does not declare it.
        "jinja2",  # The page of a run, report.html.
        "cryptography>=41",  # The key and certificate of TLS that tasks derive from their shared secret.
        "absl-py",  # One aligned log line for each event, in TensorFlow's own format.
        "rich",  # The live view on a terminal; Keras brings it.
        "setproctitle",  # Shows in `ps` what a forked task runs, as of one that was executed.
        "numpy",  # The sample order and the data sets, which need no TensorFlow.
        "requests",  # Checks that a data set's server answers, before its builder retries for minutes.
        "pyarrow",  # CSV and Parquet files; tensorflow-datasets brings it.
        "array_record",  # ArrayRecord files; tensorflow-datasets brings it.
        "google-crc32c",  # The checksums of TFRecord files, without TensorFlow.
        "protobuf",  # The Examples in record files, without TensorFlow, which brings it.
        "pillow",  # Folders of pictures.
        "scipy",  # Quantiles of the beta distribution, for mixup; scikit-learn brings it.
        "scikit-learn",  # The embedded digits, and shares of similar examples.
        "threadpoolctl",  # Limits fits to one thread, for their speed and bits; scikit-learn brings it.
    ],
    extras_require={
        "tune": TUNE,
        "gs": GS,
        "s3": S3,
        "az": AZ,
        "hf": HF,
        "onnx": ONNX,
        "privacy": PRIVACY,
        "homomorphic": HOMOMORPHIC,
        "tpu": TPU,
        "tpuname": TPU_NAME,
        "tpucheck": TPU_CHECK,
        "dev": [
            *TUNE,
            *GS,
            *S3,
            *AZ,
            *HF,
            *ONNX,
            *PRIVACY,
            *HOMOMORPHIC,
            "gcp-storage-emulator",  # A bucket on this machine, for tests.
            "build",  # The wheel and the source distribution that a test installs,
            "setuptools>=64",  # built offline; Python 3.12 no longer brings it.
            # A bucket of S3's kind. `moto[server]` would bring what its other services need.
            "moto[s3]>=5.2",
            "flask",
            "flask-cors",
            "pytest",
            "pytest-xdist",  # The unit tests on two cores at once.
            "pyte",  # A terminal emulator: what a person sees of the live view.
            "pytest-timeout",  # No test may hang: many test how tasks wait for others.
            "hypothesis",  # Any override, JSON or TF_CONFIG gives a clear error or none.
            "ruff",
            "mypy",  # Types over the whole tree, in `make lint`.
            "types-requests",
            "types-PyYAML",
            "codespell",  # Misspelt words in code and documents.
            "pre-commit",  # The checks of `make lint` before each commit, where installed.
            "kubeflow-trainer-api",  # The fields of a TrainJob and its runtime.
            "selenium",  # Drives Debian's Chromium, where that is installed, to look at report.html.
            "kubernetes-validate",  # Kubernetes' schemas: it ignores a misspelt field.
        ],
    },
    entry_points={"console_scripts": ["muster=trainer.__main__:main"]},
)
