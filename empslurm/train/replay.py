"""Passes over batches: on a GPU each shape of batch has its kernels recorded once, and then replayed in one go.

A pass is some 1,000 kernels, and to launch them one by one takes a processor longer than a GPU needs to run them. A
CUDA graph launches them all at once. What changes from batch to batch goes into an array that the graph reads; a graph
computes what its pass computes. Recording runs nothing.
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
    """Runs passes; `run(parts, n)` is one, whose kernels depend on nothing but the shapes of its parts and on n.

    It must leave its results in tensors that were there before. even: whether batches should have few shapes.
    """

    def __init__(self, run: Run, device: torch.device, *, even: bool, largest: Callable[[], tuple[Cut, int]]) -> None:
        """`even`: replay. `largest`: the pass that needs most memory; what it holds is room for all others."""
        self.run, self.device, self.even, self.largest = run, device, even, largest
        self.replays = even
        self._graphs: dict[Shape, tuple[Any, torch.Tensor]] = {}
        self._pool: Any = None
        self._stream: Any = None  # one for all graphs: what is freed on one stream is of no use to another

    @property
    def n_graphs(self) -> int:
        """Shapes that are recorded."""
        return len(self._graphs)

    def __call__(self, cut: Cut, n: int) -> None:
        """One pass over a batch."""
        if self.replays and self._pool is not None and self._record(cut, n):
            graph, values = self._graphs[cut.shapes, n]
            values.copy_(torch.from_numpy(cut.values).pin_memory(), non_blocking=True)
            graph.replay()
            return
        self.run(cut.parts(to_device(cut.values, self.device)), n)
        if self.replays and self._pool is None:  # libraries have set themselves up now
            torch.cuda.empty_cache()
            self._pool, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch gives it no types
            self._record(*self.largest())

    def forget(self) -> None:
        """Give back what the graphs hold. Shapes are recorded anew when they come."""
        self._graphs.clear()
        self._pool = self._stream = None
        torch.cuda.empty_cache()

    def close(self) -> None:
        """Give everything back at once: graphs hold memory that nothing else can have, and `run` holds its trainer."""
        if self._pool is not None:
            self.forget()
        self.replays = False
        self.run = self.largest = _closed

    def _record(self, cut: Cut, n: int) -> bool:
        """Whether there is a graph of this shape."""
        if (cut.shapes, n) in self._graphs:
            return True
        values, lacking = to_device(cut.values, self.device), ""
        for _ in range(2):  # what others left in torch's cache cannot be had while recording: so it is emptied before
            torch.cuda.empty_cache()
            graph, lacking, memory = self._captured(cut, values, n)
            if graph is not None:
                self._graphs[cut.shapes, n] = graph, values
                return True
            gc.collect()  # the failed pass held memory, too
            if not memory:
                break
        self._give_up(lacking)
        return False

    def _captured(self, cut: Cut, values: torch.Tensor, n: int) -> tuple[Any, str, bool]:
        """A graph; or None, why not, and whether memory was lacking."""
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(self._stream):
                graph.capture_begin(pool=self._pool, capture_error_mode="relaxed")  # kernels may be loaded meanwhile
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
        with contextlib.suppress(RuntimeError):  # torch may refuse after a capture that was broken off
            torch.cuda.empty_cache()
        warnings.warn(
            f"training goes on with kernels launched one by one, and slower: they could not be recorded ({reason})",
            stacklevel=1,
        )


def _closed(*_: object) -> Any:
    raise RuntimeError("passes are closed, so none can be run any more")
