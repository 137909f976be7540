"""What the machine can do: its rate at the model's own matrix products, and at a large square one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from harness.bench.flops import ModelSize

ROWS = 1536
SQUARE = 2048


def measure_ceiling(size: ModelSize, seconds: float = 2.0) -> dict[str, float]:
    """Float32 rates in GFLOP/s: `layer` (one block's products, from their median times) and `square`.

    Each product is `torch.mm(out=...)` into memory that is there already, at ROWS rows; the four shapes take
    turns for about `seconds`.
    """
    shapes = {
        "qkv": (size.d_model, size.d_query + 2 * size.d_kv),
        "o": (size.d_query, size.d_model),
        "gate_up": (size.d_model, 2 * size.d_mlp),
        "down": (size.d_mlp, size.d_model),
    }
    products: dict[str, Callable[[], object]] = {}
    flops: dict[str, int] = {}
    with torch.inference_mode():
        for name, (inner, columns) in shapes.items():
            products[name] = _product(ROWS, inner, columns)
            flops[name] = 2 * ROWS * inner * columns
        median = _medians(products, seconds)
        square = _medians({"square": _product(SQUARE, SQUARE, SQUARE)}, seconds / 3)["square"]
    rates = {name: flops[name] / median[name] / 1e9 for name in shapes}
    rates["layer"] = sum(flops.values()) / sum(median.values()) / 1e9
    rates["square"] = 2 * SQUARE**3 / square / 1e9
    return rates


def _product(rows: int, inner: int, columns: int) -> Callable[[], object]:
    x, weight, out = torch.randn(rows, inner), torch.randn(columns, inner), torch.empty(rows, columns)
    return lambda: torch.mm(x, weight.T, out=out)


def _medians(products: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Median seconds of each, in turns, at least three times each."""
    times: dict[str, list[float]] = {name: [] for name in products}
    for product in products.values():
        product()
    start = time.perf_counter()
    while time.perf_counter() - start < seconds or len(next(iter(times.values()))) < 3:
        for name, product in products.items():
            begun = time.perf_counter()
            product()
            times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in times.items()}
