"""The wheel on a cluster: jobs run a copy of what is installed, from a folder in which no checkout is."""

import json

from tests.cluster.project import PROFILE, Project
from tests.wheel import build, install, short_study


def test_jobs_train_what_a_wheel_submits(project: Project) -> None:
    installed = install(build(project.path / "wheel"), project.path / "venv")
    study = short_study(installed, project.path, "my-study")
    lines = [f"{key}: {value}" for key, value in PROFILE.items()]
    (study / "slurm" / "here.yaml").write_text("\n".join(lines) + "\n")
    installed.run("submit", "my-study", "--profile", "here", cwd=study)
    installed.run("status", "my-study", "--watch", cwd=study)
    gathered = json.loads(installed.run("gather", "my-study", "--json", cwd=study))
    assert (gathered["n_planned"], gathered["n_done"]) == (4, 4)
    (snapshot,) = (study / "runs" / "code").iterdir()
    assert sorted(path.name for path in snapshot.iterdir()) == ["code.json", "empslurm", "jobs"]
