"""TensorRT-LLM in-flight batching: decodes and prompts mix up to `max_num_tokens`; two policies for the KV cache.

Rules of capacityScheduler.cpp and microBatchScheduler.cpp (1.0). GUARANTEED_NO_EVICT, the default, lets a request enter
when blocks for prompt and longest answer are left, so nobody is paused; they are counted as taken from then on, while
the engine only keeps them free. MAX_UTILIZATION lets it enter when its prompt fits; when a decode gets no block the
request that started last is paused, and recomputed before later ones start; such a step starts nobody. Prompts are
cut only with chunked context (`Replica.whole_prompts` off). The longest answer is taken to be the answer. The rest is
`vllm_v1`. Not modelled: the two-step look-ahead of pipelines, chunks in whole units or of equal progress.
"""

from __future__ import annotations

from planner.sim.schedulers.batch import LIFE, PROMPT, Policy

TRTLLM = Policy(branch=0, hold=LIFE, crowds=True, crews=True)
TRTLLM_MAX_UTILIZATION = Policy(branch=0, hold=PROMPT, crowds=True, crews=True)
