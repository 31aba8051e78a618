"""Python processes that start at once: forked from one that has imported the heavy libraries, and no line of ours.

torch and its kin take seconds to import, the same ones for each call. What a call does begins after that: the process
imports this package from its own PYTHONPATH, has its own folder, environment, streams and exit status, and ends as any
other does. A test of how Python starts, or of what is imported, starts a process of its own instead.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

HEAVY = (
    "accelerate",
    "adapters",
    "adapters.composition",
    "datasets",
    "datasketch",
    "matplotlib.figure",
    "matplotlib.backends.backend_svg",
    "numpy",
    "optuna",
    "pandas",
    "pyarrow.parquet",
    "pytest",
    "rich.progress",
    "scipy.stats",
    "sklearn.ensemble",
    "sklearn.metrics",
    "sklearn.svm",
    "statsmodels.api",
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
    "yaml",
)
LONGEST_S = 300.0


def run(words: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What `python words` says and ends with; `words` begin with `-m` and a module, or with `-c` and code.

    What hangs is killed, and then ends with -9.
    """
    with tempfile.TemporaryDirectory(prefix="empslurm-warm-") as name:
        out, err = Path(name, "out"), Path(name, "err")
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        asked = {"words": list(words), "cwd": str(cwd), "env": dict(env), "out": str(out), "err": str(err)}
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        process = int(server.stdout.readline())
        killer = threading.Timer(LONGEST_S, os.kill, (process, signal.SIGKILL))
        killer.start()
        code = int(server.stdout.readline())
        killer.cancel()
        return subprocess.CompletedProcess(list(words), code, out.read_text(), err.read_text())


@functools.cache
def _server() -> subprocess.Popen[str]:
    """The process that forks, one for each process that runs tests. It ends with our end of its input."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    # -P: no folder of ours on its path.
    command = [sys.executable, "-P", __file__]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    atexit.register(server.communicate)
    return server


def serve() -> dict[str, Any]:
    """Fork for each line that is asked, say which process it is and what it ended with; returns in the child."""
    for line in sys.stdin:
        with warnings.catch_warnings():  # Python 3.12 warns of forks where a library has threads
            warnings.simplefilter("ignore")
            child = os.fork()
        if child == 0:
            return dict(json.loads(line))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    sys.exit()


def become(asked: dict[str, Any]) -> int:
    """Do what `python words` would; the exit status to end with."""
    for number, (name, flags) in enumerate(
        ((os.devnull, os.O_RDONLY), (asked["out"], os.O_WRONLY | os.O_CREAT), (asked["err"], os.O_WRONLY | os.O_CREAT))
    ):
        opened = os.open(name, flags)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    kind, what, *rest = asked["words"]
    sys.path[:0] = [asked["cwd"], *filter(None, asked["env"].get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [kind, *rest]
    try:
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
            return 1
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def end(code: int) -> NoReturn:
    """What Python does at its end, but for taking apart the libraries, which takes a second."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    for module in HEAVY:
        with suppress(ImportError):  # who needs it will say so
            importlib.import_module(module)
    gc.freeze()  # collections in the forks leave alone what they share
    end(become(serve()))
