"""Is only a folder deleted in which nothing was computed?"""

from trainer.storage import unused


def test_only_a_folder_without_results_is_deleted(tmp_path):
    refused, trained = tmp_path / "runs" / "refused", tmp_path / "runs" / "trained"
    for folder in (refused, trained):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    (trained / "metrics.jsonl").write_text("")
    for folder in (refused, trained):
        unused.remove(folder)
    assert not refused.exists() and (trained / "config.json").exists()
    (trained / "metrics.jsonl").unlink()
    unused.remove(trained)
    assert [*tmp_path.iterdir()] == []
