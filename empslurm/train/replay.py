"""Run passes over batches: on a GPU the kernels of each batch shape are recorded once, as a CUDA graph, then replayed.

A pass has about 1,000 kernels. Launching them one by one takes the CPU longer than the GPU needs to run them; a graph
launches all at once. It reads what differs between batches from one array, and computes exactly what its pass
computes. Recording runs nothing.
"""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch

from empslurm.train.data.batch import Cut, to_device

Run = Callable[[Mapping[str, torch.Tensor], int], None]
Shape = tuple[tuple[tuple[str, tuple[int, ...]], ...], int]


class Passes:
    """Runs passes. `run(parts, n)` is one pass; its kernels may depend only on the shapes of its parts and on n.

    It must write its results to tensors that already exist. `even`: whether batches should have few shapes.
    """

    def __init__(self, run: Run, device: torch.device, *, even: bool, largest: Callable[[], tuple[Cut, int]]) -> None:
        """`even`: record and replay. `largest`: the pass that needs most memory; all others reuse its memory."""
        self.run, self.device, self.even, self.largest = run, device, even, largest
        self.replays = even
        self._graphs: dict[Shape, tuple[Any, torch.Tensor]] = {}
        self._pool: Any = None
        self._stream: Any = None  # one for all graphs: memory freed on one stream cannot be used on another

    @property
    def n_graphs(self) -> int:
        """Number of recorded shapes."""
        return len(self._graphs)

    def __call__(self, cut: Cut, n: int) -> None:
        """Run one pass over a batch."""
        if self.replays and self._pool is not None and self._record(cut, n):
            graph, values = self._graphs[cut.shapes, n]
            values.copy_(torch.from_numpy(cut.values).pin_memory(), non_blocking=True)
            graph.replay()
            return
        self.run(cut.parts(to_device(cut.values, self.device)), n)
        if self.replays and self._pool is None:  # the first pass is over, so libraries have their workspaces
            torch.cuda.empty_cache()
            self._pool, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch gives it no types
            self._record(*self.largest())

    def forget(self) -> None:
        """Free the graphs' memory. Shapes are recorded again when they occur."""
        self._graphs.clear()
        self._pool = self._stream = None
        torch.cuda.empty_cache()

    def close(self) -> None:
        """Free everything now: graphs hold memory that nothing else can use, and `run` holds its trainer."""
        if self._pool is not None:
            self.forget()
        self.replays = False
        self.run = self.largest = _closed

    def _record(self, cut: Cut, n: int) -> bool:
        """Record a graph of this shape unless there is one; whether there is one now."""
        if (cut.shapes, n) in self._graphs:
            return True
        values, reason = to_device(cut.values, self.device), ""
        for _ in range(2):  # torch cannot use its cache while it records, so the cache is emptied before
            torch.cuda.empty_cache()
            graph, reason, out_of_memory = self._captured(cut, values, n)
            if graph is not None:
                self._graphs[cut.shapes, n] = graph, values
                return True
            gc.collect()  # the failed pass held memory, too
            if not out_of_memory:
                break
        self._give_up(reason)
        return False

    def _captured(self, cut: Cut, values: torch.Tensor, n: int) -> tuple[Any, str, bool]:
        """The graph; or None, with the reason, and whether memory ran out."""
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(self._stream):
                graph.capture_begin(pool=self._pool, capture_error_mode="relaxed")  # lets kernels be loaded meanwhile
                try:
                    self.run(cut.parts(values), n)
                except BaseException:
                    with contextlib.suppress(RuntimeError):
                        graph.capture_end()
                    raise
                graph.capture_end()
        except RuntimeError as error:
            return None, str(error).strip().splitlines()[0], isinstance(error, torch.OutOfMemoryError)
        torch.cuda.current_stream().wait_stream(self._stream)
        return graph, "", False

    def _give_up(self, reason: str) -> None:
        self.replays = False
        self._graphs.clear()
        with contextlib.suppress(RuntimeError):  # torch may refuse after a failed capture
            torch.cuda.empty_cache()
        warnings.warn(
            f"training continues, but slower: a pass could not be recorded as a CUDA graph ({reason})",
            stacklevel=1,
        )


def _closed(*_: object) -> Any:
    raise RuntimeError("these passes are closed: no more can be run")
