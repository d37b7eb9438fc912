"""Fit operator grids from the operator tables of the PyPI package aiconfigurator-core 0.12 (Apache-2.0).

    python tools/fit_operators.py [--tables DIR] [--out hardware_db/operators]

Reads only the installed package (or DIR, its `systems/data` folder), never its end-to-end samples. A grid is the
least-squares fit of log2(measured / (roofline + start-up)) by a multilinear function on the axes of
planner/perf/grids.py with a small second-difference penalty, which also fills cells without data. Deterministic.
Prints the held-out error: a random fifth of the shapes left out of a second fit. Engines pick among kernels, so the
fastest kernel of a shape counts.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from packaging.version import Version
from scipy import sparse
from scipy.sparse.linalg import spsolve

from planner.perf.grids import AXES, RESOLUTION, STARTUP_S, Roofline
from planner.spec.hardware import Accelerator

ROOT = Path(__file__).parents[1]
VERSION = "0.12.0"
SYSTEMS = {
    "a100_sxm": "a100-sxm4-80gb", "h100_sxm": "h100-sxm5-80gb", "h200_sxm": "h200-sxm-141gb",
    "b200_sxm": "b200-sxm-180gb", "b300_sxm": "b300-sxm-288gb", "gb200": "gb200-nvl72", "gb300": "gb300-nvl72",
    "l40s": "l40s", "rtx_pro_6000_server": "rtx-pro-6000-blackwell-server",
}  # fmt: skip
# Table name of a format -> (our name, bytes of a weight, bytes of an activation, peak it computes at)
FORMATS = {
    "bfloat16": ("bf16", 2.0, 2.0, "bf16"), "fp8": ("fp8", 1.0, 1.0, "fp8"),
    "fp8_block": ("fp8_block", 1.0, 1.0, "fp8"),
    "nvfp4": ("nvfp4", 0.5625, 0.5625, "fp4"), "w4a16_mxfp4": ("mxfp4", 0.53125, 2.0, "bf16"),
    "w4a8_mxfp4_mxfp8": ("mxfp4_fp8", 0.53125, 1.0, "fp8"), "int4_wo": ("int4", 0.53125, 2.0, "bf16"),
}  # fmt: skip
SMOOTHNESS = 0.002
OUTLIER = 0.15
"""log2: about 11 %."""


@dataclass(frozen=True)
class Device:
    peak: dict[str, float]
    bandwidth: float

    def roofline(self, peak: str) -> Roofline:
        return Roofline(self.peak[peak], self.bandwidth)


def device_of(name: str) -> Device:
    file = next((ROOT / "hardware_db" / "accelerators").rglob(f"{name}.yaml"))
    found = Accelerator.model_validate(yaml.safe_load(file.read_text()))
    peaks = {key: getattr(found.peak, f"{key}_flop_per_s") for key in ("bf16", "fp8", "fp4")}
    return Device({k: v or peaks["fp8"] or peaks["bf16"] for k, v in peaks.items()}, found.memory_bandwidth_bytes_per_s)


Sample = tuple[str, np.ndarray, np.ndarray]
"""Grid key, coordinates [rows, axes] (log2), log2(measured / (roofline + start-up)) [rows]."""


def slowdown(rows: pd.DataFrame, floor_s: np.ndarray) -> np.ndarray:
    """log2 of the measured time (table unit: ms) over roofline plus start-up."""
    return np.log2(rows["latency"].to_numpy() * 1e-3 / (floor_s + STARTUP_S))


def gemm(table: pd.DataFrame, device: Device) -> Iterator[Sample]:
    for name, part in table.groupby("gemm_dtype"):
        if name not in FORMATS:
            continue
        ours, weight, activation, peak = FORMATS[name]
        shapes = part.groupby(["m", "n", "k"])["latency"].min().reset_index()
        m, n, k = (shapes[c].to_numpy(float) for c in "mnk")
        floor = device.roofline(peak).gemm_s(m, n, k, weight, activation)
        yield ours, np.log2(np.stack([m, n, k], axis=1)), slowdown(shapes, floor)


def moe(table: pd.DataFrame, device: Device) -> Iterator[Sample]:
    table = table[table["distribution"] != "balanced"]
    shape = [
        "num_tokens",
        "hidden_size",
        "inter_size",
        "topk",
        "num_experts",
        "moe_tp_size",
        "moe_ep_size",
        "distribution",
    ]
    for name, part in table.groupby("moe_dtype"):
        if name not in FORMATS:
            continue
        ours, weight, _, peak = FORMATS[name]
        rows = part.groupby(shape)["latency"].min().reset_index()
        tokens, hidden, inter, k, experts, tp, ep = (rows[c].to_numpy(float) for c in shape[:-1])
        local = np.maximum(experts / ep, 1.0)
        parameters = 3 * hidden * inter / tp
        floor = device.roofline(peak).moe_s(tokens * k / ep, local, parameters, weight)
        where = np.log2(np.stack([tokens * k / ep / local, local, parameters * weight, ep], axis=1))
        yield ours, where, slowdown(rows, floor)


def decode(table: pd.DataFrame, device: Device) -> Iterator[Sample]:
    table = table[table["window_size"] == 0] if "window_size" in table else table
    keys = ["batch_size", "num_heads", "num_key_value_heads", "step"]
    for (dtype, width), part in table.groupby(["kv_cache_dtype", "head_dim"]):
        if width not in (64, 128, 256):
            continue
        rows = part.groupby(keys)["latency"].min().reset_index()
        batch, heads, kv, step = (rows[c].to_numpy(float) for c in keys)
        kv = np.where(kv == 0, heads, kv)
        context = step + 1
        element = 1.0 if dtype == "fp8" else 2.0
        floor = device.roofline("bf16").decode_s(batch, heads, kv, context, width, element)
        where = np.log2(np.stack([batch * kv, context, heads / kv], axis=1))
        yield f"{width}|{'fp8' if dtype == 'fp8' else 'bf16'}", where, slowdown(rows, floor)


def prefill(table: pd.DataFrame, device: Device) -> Iterator[Sample]:
    table = table[table["window_size"] == 0] if "window_size" in table else table
    keys = ["batch_size", "num_heads", "isl"]
    for (dtype, width), part in table.groupby(["attn_dtype", "head_dim"]):
        if width not in (64, 128, 256):
            continue
        rows = part.groupby(keys)["latency"].median().reset_index()
        batch, heads, prompt = (rows[c].to_numpy(float) for c in keys)
        peak = "fp8" if dtype == "fp8" else "bf16"
        floor = device.roofline(peak).prefill_s(batch, heads, prompt, width)
        where = np.log2(np.stack([batch * heads, prompt], axis=1))
        yield f"{width}|{peak}", where, slowdown(rows, floor)


def mla_decode(table: pd.DataFrame, device: Device) -> Iterator[Sample]:
    keys = ["batch_size", "num_heads", "step"]
    for dtype, part in table.groupby("kv_cache_dtype"):
        rows = part.groupby(keys)["latency"].min().reset_index()
        batch, heads, step = (rows[c].to_numpy(float) for c in keys)
        context, element = step + 1, 1.0 if dtype == "fp8" else 2.0
        floor = device.roofline("bf16").mla_decode_s(batch, heads, context, element)
        where = np.log2(np.stack([batch, context, heads], axis=1))
        yield "fp8" if dtype == "fp8" else "bf16", where, slowdown(rows, floor)


def mla_prefill(table: pd.DataFrame, device: Device) -> Iterator[Sample]:
    keys = ["batch_size", "num_heads", "isl"]
    rows = table.groupby(keys)["latency"].min().reset_index()
    batch, heads, prompt = (rows[c].to_numpy(float) for c in keys)
    floor = device.roofline("bf16").mla_prefill_s(batch, heads, prompt)
    yield "bf16", np.log2(np.stack([batch, prompt, heads], axis=1)), slowdown(rows, floor)


OPERATORS: dict[str, tuple[str, str, Callable[[pd.DataFrame, Device], Iterator[Sample]]]] = {
    "gemm": ("gemm", "gemm_perf", gemm), "moe": ("moe", "moe_perf", moe),
    "decode": ("attention", "generation_attention_perf", decode),
    "prefill": ("attention", "context_attention_perf", prefill),
    "mla_decode": ("mla", "generation_mla_perf", mla_decode), "mla_prefill": ("mla", "context_mla_perf", mla_prefill),
}  # fmt: skip


def basis(axes: tuple[tuple[float, ...], ...], where: np.ndarray) -> sparse.csr_matrix:
    """Multilinear interpolation weights, [rows, vertices]."""
    shape = tuple(len(axis) for axis in axes)
    cells, weights = [], []
    for i, axis in enumerate(axes):
        nodes = np.array(axis, dtype=float)
        x = np.clip(where[:, i], nodes[0], nodes[-1])
        cell = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, len(nodes) - 2)
        cells.append(cell)
        weights.append((x - nodes[cell]) / (nodes[cell + 1] - nodes[cell]))
    total = sparse.csr_matrix((len(where), int(np.prod(shape))))
    for corner in np.ndindex(*(2,) * len(axes)):
        share = np.prod([w if side else 1 - w for side, w in zip(corner, weights, strict=True)], axis=0)
        vertex = np.ravel_multi_index([c + side for c, side in zip(cells, corner, strict=True)], shape)
        total += sparse.csr_matrix((share, (np.arange(len(where)), vertex)), shape=total.shape)
    return total


def roughness(axes: tuple[tuple[float, ...], ...]) -> sparse.csr_matrix:
    """Second differences along every axis, and a whisper of first differences so that every vertex is determined."""
    sizes, parts = [len(axis) for axis in axes], []
    for i, size in enumerate(sizes):
        for order, strength in ((2, 1.0), (1, 0.02)):
            step = sparse.csr_matrix(np.diff(np.eye(size), n=order, axis=0) * strength)
            factors = [step if j == i else sparse.identity(n) for j, n in enumerate(sizes)]
            whole = factors[0]
            for factor in factors[1:]:
                whole = sparse.kron(whole, factor)
            parts.append(whole)
    return sparse.vstack(parts).tocsr()


def fit(axes: tuple[tuple[float, ...], ...], where: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Vertex values minimising error plus the roughness penalty, scaled to the number of rows.

    The error counts squared up to OUTLIER and linearly beyond (Huber, three reweightings), because some tables hold
    single rows that are 10-30 times off their neighbours.
    """
    weights, rough = basis(axes, where), roughness(axes)
    penalty = SMOOTHNESS * max(len(values) / rough.shape[1], 0.05) * (rough.T @ rough)
    trust, vertices = np.ones(len(values)), np.zeros(rough.shape[1])
    for _ in range(4):
        trusted = weights.T @ sparse.diags(trust)
        vertices = np.asarray(spsolve((trusted @ weights + penalty).tocsc(), trusted @ values))
        trust = 1 / np.maximum(1.0, np.abs(weights @ vertices - values) / OUTLIER)
    return vertices


def held_out_error(axes: tuple[tuple[float, ...], ...], where: np.ndarray, values: np.ndarray) -> float:
    """Median absolute relative error on a fifth of the rows that the fit did not see."""
    out = np.random.default_rng(0).random(len(values)) < 0.2
    predicted = basis(axes, where[out]) @ fit(axes, where[~out], values[~out])
    return float(np.median(np.abs(np.exp2(predicted - values[out]) - 1)))


def newest(folder: Path, table: str) -> Path | None:
    """The newest version whose table is not a small supplement of an older one."""
    files = list(folder.glob(f"*/{table}.parquet"))
    whole = [f for f in files if f.stat().st_size > 0.3 * max(g.stat().st_size for g in files)]
    return max(whole, key=lambda f: Version(f.parent.name), default=None)


def fit_device(tables: Path, system: str, out: Path) -> dict[str, dict[str, object]]:
    device, arrays, provenance = device_of(SYSTEMS[system]), {}, {}
    for operator, (folder, table, read) in OPERATORS.items():
        for engine in ("vllm", "sglang", "trtllm"):
            file = newest(tables / system / folder / engine, table)
            if file is None:
                continue
            for detail, where, values in read(pd.read_parquet(file), device):
                name, dtype = (
                    (operator + detail.split("|")[0], detail.split("|")[1]) if "|" in detail else (operator, detail)
                )
                key = f"{name}|{engine}|{dtype}"
                axes = AXES[name]
                vertices = fit(axes, where, values).reshape([len(a) for a in axes])
                arrays[key] = np.clip(np.round(vertices / RESOLUTION), -127, 127).astype(np.int8)
                error = held_out_error(axes, where, values)
                provenance[key] = {"version": file.parent.name, "rows": len(values), "held_out_error": round(error, 4)}
                print(f"{SYSTEMS[system]:32s} {key:26s} {len(values):7d} rows, held-out error {error:6.1%}", flush=True)
    np.savez_compressed(out / f"{SYSTEMS[system]}.npz", **arrays)
    return provenance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=Path, help="the package's systems/data folder; default: the installed package")
    parser.add_argument("--out", type=Path, default=ROOT / "hardware_db" / "operators")
    parser.add_argument("--system", action="append", choices=sorted(SYSTEMS), help="only these devices")
    options = parser.parse_args()
    spec = find_spec("aiconfigurator_core")
    tables = options.tables or (Path(spec.origin).parent / "systems" / "data" if spec and spec.origin else None)
    if tables is None or not tables.is_dir():
        raise SystemExit(
            "operator tables not found: pip install 'serveplan[silicon]' pandas pyarrow scipy, or give --tables DIR"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    for system in options.system or SYSTEMS:
        provenance = fit_device(tables, system, options.out)
        digest = hashlib.sha256((options.out / f"{SYSTEMS[system]}.npz").read_bytes()).hexdigest()
        about = {
            "source": f"operator tables of aiconfigurator-core {VERSION} (Apache-2.0), by tools/fit_operators.py",
            "value": "log2(measured / (roofline + start-up)) / 0.05 on the axes of planner/perf/grids.py",
            "sha256": digest, "grids": provenance,
        }  # fmt: skip
        (options.out / f"{SYSTEMS[system]}.yaml").write_text(yaml.safe_dump(about, sort_keys=False))


if __name__ == "__main__":
    main()
