"""Number formats of weights and KV cache and the bytes they take; not the speed of computing in them."""

from __future__ import annotations

from typing import Literal

Dtype = Literal["fp32", "bf16", "fp16", "fp8", "int8", "int4", "nvfp4", "mxfp4", "q4_k_m"]
KvDtype = Literal["bf16", "fp16", "fp8", "int8"]

# Bytes of one weight including its scales: fp8 with one scale per 128x128 block or channel; int4 with an fp16 scale
# and zero per group of 128; nvfp4 an fp8 scale per 16; mxfp4 an 8-bit exponent per 32; q4_k_m 4.85 bits (llama.cpp).
BYTES_PER_WEIGHT: dict[str, float] = {
    "fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0,
    "int4": 0.53125, "nvfp4": 0.5625, "mxfp4": 0.53125, "q4_k_m": 0.60625,
}  # fmt: skip
BYTES_PER_KV: dict[str, float] = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0}
