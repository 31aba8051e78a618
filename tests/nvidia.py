"""Stand-ins for nvidia-smi and /proc/cpuinfo."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

A100 = "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f"
SECOND = "GPU-77777777-d268-c3f3-1b07-005d5ae1dc3f"
PARTS = ("MIG-c7384736-a75d-5afc-978f-d2f1294409fd", "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d")
ONE = f"GPU 0: NVIDIA A100-SXM4-40GB (UUID: {A100})\n"
TWO = f"{ONE}GPU 1: NVIDIA A100-SXM4-40GB (UUID: {SECOND})\n"
MIG = f"{ONE}  MIG 1g.5gb      Device  0: (UUID: {PARTS[0]})\n  MIG 3g.20gb     Device  1: (UUID: {PARTS[1]})\n"
ROW = f"{A100}, NVIDIA A100-SXM4-40GB, 550.54.15, 40960, 61.23\n"
ROWS = ROW + f"{SECOND}, NVIDIA A100-SXM4-40GB, 550.54.15, 40960, 75.00\n"

WITH_BF16 = "processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16 amx_tile\n"
WITHOUT_BF16 = (
    "processor\t: 0\nmodel name\t: with avx512_bf16 in its name only\nflags\t\t: fpu avx2 avx512f avx512_vnni\n"
)


def stage(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, listed: str = ONE, rows: str = ROW, status: int = 0
) -> None:
    """Put an nvidia-smi alone on PATH: it answers -L with `listed` and a query with the rows of the UUIDs in --id.

    As the real one, it refuses the UUID of a MIG instance, and says so on stdout.
    """
    script = f"""#!/bin/sh
[ {status} = 0 ] || {{ echo 'NVIDIA-SMI has failed: no driver.'; exit {status}; }}
case "$*" in
  -L) printf %s {shlex.quote(listed)} ;;
  *--id=*MIG-*) echo 'No devices were found'; exit 6 ;;
  *--query-gpu=uuid,name,driver_version,memory.total,power.draw*--id=*)
    ids="${{*##*--id=}}"
    printf %s {shlex.quote(rows)} | while IFS= read -r row; do
      case ",$ids," in *",${{row%%,*}},"*) echo "$row" ;; esac
    done ;;
  *) echo 'Field is not a valid field to query.'; exit 2 ;;
esac
"""
    folder.mkdir(exist_ok=True)
    program = folder / "nvidia-smi"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def hide(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """No nvidia-smi on PATH."""
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
