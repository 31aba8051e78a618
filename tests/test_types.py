"""mypy checks modules that tests share as strictly as the package; setup.cfg lists all of them."""

import configparser
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[1]
RELAXED = "mypy-tests.*"


def test_every_module_that_tests_share_is_strict():
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    (section,) = [name for name in config.sections() if name.startswith("mypy-tests.") and name != RELAXED]
    patterns = section.removeprefix("mypy-").replace("tests.*.conftest", "tests.*conftest").split(",")
    paths = [path for path in (ROOT / "tests").rglob("*.py") if not path.name.startswith(("test_", "__init__"))]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    assert "tests.train.world" in modules
    lacking = [module for module in modules if not any(fnmatchcase(module, pattern) for pattern in patterns)]
    assert not lacking, f"name them in the section [{section}] of setup.cfg"
