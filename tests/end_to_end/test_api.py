"""The Python interface on results that were trained."""

import empslurm
from tests.project import Project


def test_from_a_runs_root_to_frames_as_gather_writes_them(trained: Project) -> None:
    runs, data = trained.path / "runs", trained.path / "data"
    (manifest,) = (trained.path / "manifests").glob("*.yaml")
    states = empslurm.status(manifest, runs=runs, data=data)
    assert {state.state for state in states.values()} == {"done"}
    study = empslurm.gathered(manifest, runs=runs, data=data)
    assert set(study.frame("long")["id"]) == set(states)
    document = trained.json("gather", manifest.stem, "--out", "api-gathered")
    written = empslurm.load_gathered(trained.path / "api-gathered")
    assert document["n_done"] == len(states)
    columns = ["source", "target", "difference"]
    ours, files = study.frame("verdicts")[columns], written.frame("verdicts")[columns]
    assert ours[["source", "target"]].equals(files[["source", "target"]])
    assert (ours["difference"] - files["difference"]).abs().max() < 1e-3
    everything = empslurm.gathered(runs=runs, data=data)
    assert len(everything.frame("long")) >= len(states)
