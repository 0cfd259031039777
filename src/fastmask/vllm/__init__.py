"""Constrained generation in vLLM, a constraint for each request.

Requests name what their text must be::

    llm = LLM(model, logits_processors=["fastmask.vllm.v2:ConstraintLogitsProcessor"])
    llm.generate(prompt, SamplingParams(extra_args={"fastmask": {"schema": Review.model_json_schema()}}))

or ``"regex": …``, or ``"choices": […]``; over HTTP, where values are plain, as text of JSON:
``"vllm_xargs": {"fastmask": "{\\"regex\\": \\"[0-9]+\\"}"}``. Requests without it are left alone.

vLLM has two model runners with an interface each, and refuses a processor of the other's:

- ``fastmask.vllm.v2``: Model Runner V2, what vLLM takes by default where it can.
- ``fastmask.vllm.v1``: the older one, ``VLLM_USE_V2_MODEL_RUNNER=0``.

Written from the source of vLLM 0.33.0 and tested against stand-ins of its interfaces; **not yet run inside vLLM**.
This package itself does not import vLLM; its two modules do.
"""

__all__: list[str] = []  # each runner's module has its own
