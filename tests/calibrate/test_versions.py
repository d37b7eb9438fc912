"""Engine versions in the wild: image tags, nightlies, dates, and the versions of other software beside them."""

import pytest

from planner.calibrate.versions import version_of


@pytest.mark.parametrize(
    ("engine", "text", "date", "expected"),
    [
        ("vllm", "vllm/vllm-openai:v0.19.0-cu130", "", (0, 19, 0)),
        ("sglang", "lmsysorg/sglang-rocm:v0.5.12-rocm720-mi35x-20260519", "", (0, 5, 12)),
        ("sglang", "rocm/sgl-dev:sglang-0.5.6.post1-rocm700-mi35x-mori-0113", "", (0, 5, 6)),
        ("sglang", "lmsysorg/sglang:nightly-dev-cu13-20260317-1eea7448", "2026-03-20", (0, 5, 9)),
        ("trtllm", "nvcr.io#nvidia/tensorrt-llm/release:1.2.0rc6.post2", "", (1, 2, 0)),
        ("trtllm", "nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime:0.8.1.post1", "2026-02-14", (1, 2, 0)),
        ("vllm", "CUDA 12.2 {'cuda_version': '12.2', 'vllm': '0.5.1'}", "2024-08-28", (0, 5, 1)),
        ("vllm", "vLLM 0.4.3+rocm614, PyTorch 2.3.0, ROCm 6.1.0", "", (0, 4, 3)),
        ("atom", "rocm/atom:rocm7.2.4_ubuntu24.04_py3.12_pytorch_release_2.10.0_atom0.1.3", "", (0, 1, 3)),
        ("trtllm", "TensorRT 10.2.0, CUDA 12.4, cuDNN 8.9.7, Driver 550.54", "2024-08-28", (0, 9, 0)),
        ("vllm", "", "2024-11", (0, 6, 3)),
        ("vllm", "0.6.3/0.6.4", "", (0, 6, 3)),
        ("sglang", "nightly-dev", "", None),
        ("sambaflow", "", "2024-10 (SC24 workshop)", None),
    ],
)  # fmt: skip
def test_versions(engine: str, text: str, date: str, expected: tuple[int, ...] | None) -> None:
    assert version_of(engine, text, date) == expected
