"""Do tasks that encrypt their connections train, to the same weights as those that do not?"""

import pytest

from tests.cluster import cluster
from tests.unit.strategies.network.authority import Authority

FLAGS = ("--config.train.epochs=1",)


def _weights(run: cluster.Run) -> str:
    return run.summary["weights_sha256"]


@pytest.mark.parametrize("encrypt", ["all", pytest.param("control", marks=pytest.mark.long)])
def test_tasks_with_a_secret_train_to_the_same_weights(tmp_path, encrypt):
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef")
    plain = cluster.launching(tmp_path / "plain", *FLAGS)
    expected = _weights(cluster.finished(plain, tmp_path / "plain"))
    secured = (f"--secret_file={secret}", f"--encrypt={encrypt}")
    launching = cluster.launching(tmp_path / "run", *FLAGS, *secured)
    run = cluster.finished(launching, tmp_path / "run")
    assert run.summary["num_replicas"] == 2 and _weights(run) == expected
    what = "all that they send" + (" but the gradients" if encrypt == "control" else "")
    assert f"a shared secret authenticates them, and TLS 1.3 encrypts {what}" in run.screen


@pytest.mark.long  # handshake_test.py has the certificates.
def test_tasks_with_certificates_of_one_authority_train(tmp_path):
    ca, cert, key = Authority(tmp_path).files("task")
    secured = (f"--tls_ca={ca}", f"--tls_cert={cert}", f"--tls_key={key}")
    for layout, flags in (("workers", {}), ("servers", {"workers": 1, "ps": 1})):
        launching = cluster.launching(tmp_path / layout, *FLAGS, *secured, **flags)
        run = cluster.finished(launching, tmp_path / layout)
        assert "--tls_ca authenticates them, and TLS 1.3 encrypts" in run.screen
