"""What the running SGLang says about itself: facts that decide the bytes of its KV pages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from kdn.engines.sglang.identity import weights_name
from kdn.errors import FieldError

if TYPE_CHECKING:
    from kdn.engines.sglang.settings import Settings

# Settings under which the same weights and tokens give other KV, or other bytes for the same KV.
MODEL_FIELDS = (
    "dtype",
    "quantization",
    "quantization_param_path",
    "kv_cache_dtype",
    "json_model_override_args",
    "model_impl",
    "modelopt_quant",
    "rl_quant_profile",
)
SPECULATION_FIELDS = ("speculative_algorithm", "speculative_draft_model_path")
LAYOUT_VARIABLES = ("SGLANG_USE_HND_KVCACHE", "SGLANG_AITER_KV_CACHE_LAYOUT")


def engine_facts(settings: Settings, served_name: str | None) -> dict[str, Any]:
    """The engine's version and settings, and the name of its weights.

    Within an engine the weights are named by their bytes unless the settings name them; outside
    one, where no path is known, by `served_name`. Raises FieldError if neither gives a name.
    """
    import sglang

    model = _bag("model")
    facts: dict[str, Any] = {
        "sglang": sglang.__version__,
        "model": settings.model_name or _model_name(model, served_name),
        "environment": {name: os.environ.get(name) for name in LAYOUT_VARIABLES},
    }
    for bag, fields in ((model, MODEL_FIELDS), (_bag("spec"), SPECULATION_FIELDS)):
        facts.update({name: _plain(getattr(bag, name, None)) for name in fields})
    if settings.model_name is None:
        facts["adapters"] = _adapter_names(_bag("lora"))
    return facts


def weights_version() -> str:
    """The version under which an update of the weights in place was announced to the engine."""
    return str(getattr(_bag("serving"), "weight_version", None) or "")


def _bag(name: str) -> Any:
    """A namespace of SGLang's resolved settings, None where none was published."""
    try:
        from sglang.srt import runtime_context

        return getattr(runtime_context, f"get_{name}")()
    except (ImportError, AttributeError, ValueError):
        return None


def _model_name(model: Any, served_name: str | None) -> str:
    path = getattr(model, "model_path", None)
    if path is None:
        if not served_name:
            raise FieldError("kdn_model_name", None, "given where SGLang names no model")
        if os.path.exists(served_name):
            return weights_name(served_name)
        return f"name:{served_name}"
    if str(getattr(model, "load_format", "auto")) in ("dummy", "LoadFormat.DUMMY"):
        raise FieldError("kdn_model_name", None, "given for weights that no file holds")
    return weights_name(
        path, getattr(model, "revision", None), getattr(model, "download_dir", None)
    )


def _adapter_names(lora: Any) -> list[str]:
    """Names of the adapters given at start: SGLang's own ids for them say only name and path.

    Adapters that are loaded later get random ids, so their pages are never found by mistake.
    """
    adapters = getattr(lora, "lora_paths", None) or []
    return sorted(
        f"{adapter.lora_name}={weights_name(adapter.lora_path)}"
        for adapter in adapters
        if getattr(adapter, "lora_path", None)
    )


def _plain(value: Any) -> str | None:
    return None if value is None else str(value)
