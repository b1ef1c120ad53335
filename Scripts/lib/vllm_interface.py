#!/usr/bin/env python3
"""Holds a vLLM's sources against what kdn.engines.vllm uses of them, without importing either.

usage: vllm_interface.py FOLDER    FOLDER holds the package `vllm`, as a wheel has it

Checks that each name that is imported from vLLM exists, that methods which override vLLM's can be
called as vLLM calls them and that none of its abstract ones is missing, and that the attributes
and functions that are used by name alone are still there. Prints what differs; exits with 1 then.
"""

from __future__ import annotations

import ast
import pathlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "Sources/Python/kdn/engines/vllm"
Function = ast.FunctionDef | ast.AsyncFunctionDef

# Attributes of vLLM's objects that are read without importing their classes.
ATTRIBUTES = {
    "vllm.v1.kv_cache_interface": {
        "KVCacheConfig": ["num_blocks", "kv_cache_groups", "kv_cache_layout"],
        "KVCacheGroupSpec": [
            "layer_names", "kv_cache_spec", "is_eagle_group", "host_resident", "enable_kv_transfer",
        ],
        "FullAttentionSpec": ["sliding_window", "attention_chunk_size", "non_causal"],
        "SlidingWindowSpec": ["sliding_window"],
        "MLAAttentionSpec": ["non_causal_multi_token_decode"],
        "UniformTypeKVCacheSpecs": ["kv_cache_specs"],
        "AttentionSpec": [
            "block_size", "num_kv_heads", "head_size", "head_size_v", "dtype", "kv_quant_mode",
            "num_head_slots", "state_content_bytes", "tokens_per_state", "num_heads", "num_states",
            "state_content_size_bytes",
        ],
        "KVQuantMode": ["NONE", "FP8_PER_TENSOR"],
    },
    "vllm.v1.request": {
        "Request": [
            "prompt_token_ids", "prompt_embeds", "prompt_is_token_ids", "mm_features", "resumable",
            "lora_request", "cache_salt", "all_token_ids", "kv_transfer_params", "request_id",
        ],
    },
    "vllm.multimodal.inputs": {
        "MultiModalFeatureSpec": ["identifier", "mm_position"],
        "PlaceholderRange": ["offset", "length"],
    },
    "vllm.lora.request": {"LoRARequest": ["lora_int_id", "lora_path"]},
    "vllm.config.parallel": {
        "ParallelConfig": [
            "tensor_parallel_size", "pipeline_parallel_size", "decode_context_parallel_size",
            "prefill_context_parallel_size",
        ],
    },
    "vllm.config.model": {
        "ModelConfig": [
            "model", "model_weights", "revision", "code_revision", "dtype", "quantization",
            "max_model_len", "hf_text_config", "hf_config", "is_encoder_decoder",
            "get_total_num_kv_heads",
        ],
    },
    "vllm.config.cache": {"CacheConfig": ["cache_dtype", "block_size"]},
    "vllm.config.load": {"LoadConfig": ["load_format"]},
    "vllm.config.device": {"DeviceConfig": ["device_type"]},
    "vllm.config.speculative": {"SpeculativeConfig": ["method"]},
    "vllm.config.kv_transfer": {
        "KVTransferConfig": [
            "kv_connector_extra_config", "kv_load_failure_policy", "is_kv_producer",
            "is_kv_consumer",
        ],
    },
    "vllm.config.compilation": {"CompilationConfig": ["static_forward_context"]},
    "vllm.config.vllm": {
        "VllmConfig": [
            "model_config", "load_config", "parallel_config", "cache_config", "device_config",
            "attention_config", "speculative_config", "compilation_config",
        ],
    },
    "vllm.model_executor.layers.attention.attention": {"Attention": ["attn_backend"]},
}
# Functions that are called with so many arguments in a row.
CALLS = {
    ("vllm.v1.attention.backends.cpu_attn", "_get_attn_isa"): 4,
    ("vllm._custom_ops", "cpu_attn_reshape_and_cache"): 6,
    ("vllm.distributed.utils", "get_pp_indices"): 3,
}


@dataclass
class Tree:
    """The sources under a folder, parsed when they are asked for."""

    root: pathlib.Path
    modules: dict[str, ast.Module | None] = field(default_factory=dict)

    def module(self, name: str) -> ast.Module | None:
        """A module's source; None if there is none."""
        if name not in self.modules:
            path = self.root.joinpath(*name.split("."))
            files = (path.with_suffix(".py"), path / "__init__.py")
            file = next((file for file in files if file.is_file()), None)
            self.modules[name] = ast.parse(file.read_text()) if file else None
        return self.modules[name]

    def find(self, module: str, name: str, depth: int = 0) -> tuple[str, ast.AST] | None:
        """Where a name is defined, through imports; None if nowhere."""
        source = self.module(module)
        if source is None or depth > 8:
            return None
        for node in statements(source):
            if name not in set(defined(node)):
                continue
            if not isinstance(node, ast.ImportFrom):
                return module, node
            origin = import_origin(module, node, self.is_package(module))
            real = next(a.name for a in node.names if (a.asname or a.name) == name)
            return self.find(origin, real, depth + 1) or (origin, node)
        below = f"{module}.{name}"
        found = self.module(below)
        return None if found is None else (below, found)

    def is_package(self, module: str) -> bool:
        return (self.root.joinpath(*module.split(".")) / "__init__.py").is_file()

    def lineage(self, module: str, name: str) -> list[ast.ClassDef]:
        """A class of vLLM's and its bases there, nearest first."""
        found = self.find(module, name)
        if found is None or not isinstance(found[1], ast.ClassDef):
            return []
        where, node = found
        rows = [node]
        for base in node.bases:
            short = ast.unparse(base).split("[")[0].split(".")[-1]
            rows += self.lineage(where, short)
        return rows


def import_origin(module: str, node: ast.ImportFrom, package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    kept = parts[: len(parts) - node.level + (1 if package else 0)]
    return ".".join([*kept, *([node.module] if node.module else [])])


def statements(source: ast.Module) -> Iterator[ast.stmt]:
    """A module's statements, those under `if` and `try` too."""
    pending: list[ast.stmt] = list(source.body)
    while pending:
        node = pending.pop(0)
        yield node
        if isinstance(node, (ast.If, ast.Try)):
            pending += [*node.body, *node.orelse, *getattr(node, "finalbody", [])]
            pending += [line for handler in getattr(node, "handlers", []) for line in handler.body]


def defined(node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))
    elif isinstance(node, ast.TypeAlias if sys.version_info >= (3, 12) else ()):
        yield node.name.id


def check_imports(tree: Tree, file: str, source: ast.Module) -> Iterator[str]:
    for node in ast.walk(source):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("vllm"):
            continue
        for alias in node.names:
            # A package may make names as it is imported; only its source is looked at here.
            module = str(node.module)
            if tree.find(module, alias.name) is None and not makes_names(tree, module, alias.name):
                yield f"{file}:{node.lineno}: {module} has no {alias.name}"


def makes_names(tree: Tree, module: str, name: str) -> bool:
    """Whether the module has a `__getattr__` and its source speaks of `name`."""
    source = tree.module(module)
    if source is None:
        return False
    lazy = any("__getattr__" in set(defined(node)) for node in statements(source))
    return lazy and name in ast.unparse(source)


def check_classes(tree: Tree, file: str, source: ast.Module) -> Iterator[str]:
    origins = {
        alias.asname or alias.name: (str(node.module), alias.name)
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vllm")
        for alias in node.names
    }
    for node in statements(source):
        if not isinstance(node, ast.ClassDef):
            continue
        bases = [ast.unparse(base).split("[")[0] for base in node.bases]
        theirs = [c for base in bases if base in origins for c in tree.lineage(*origins[base])]
        if theirs:
            yield from check_class(file, node, theirs)


def check_class(file: str, node: ast.ClassDef, theirs: list[ast.ClassDef]) -> Iterator[str]:
    mine = methods(node)
    known: dict[str, Function] = {}
    for base in reversed(theirs):
        known.update(methods(base))
    for name, method in mine.items():
        if name in known and not name.startswith("__"):
            for fault in differences(method, known[name]):
                yield f"{file}:{method.lineno}: {node.name}.{name}: {fault}"
    for name, method in known.items():
        if any("abstract" in ast.unparse(d) for d in method.decorator_list) and name not in mine:
            yield f"{file}:{node.lineno}: {node.name} lacks the abstract method {name}"


def methods(node: ast.ClassDef) -> dict[str, Function]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {line.name: line for line in node.body if isinstance(line, kinds)}


def differences(mine: Function, theirs: Function) -> Iterator[str]:
    """Why a call made for `theirs` would fail on `mine`."""
    own = [a.arg for a in [*mine.args.posonlyargs, *mine.args.args]]
    other = [a.arg for a in [*theirs.args.posonlyargs, *theirs.args.args]]
    for place, name in enumerate(other):
        if place < len(own):
            if own[place] != name:
                yield f"argument {place} is {own[place]!r}, in vLLM {name!r}"
        elif mine.args.vararg is None and mine.args.kwarg is None:
            yield f"vLLM has a further argument {name!r}"
    required = len(own) - len(mine.args.defaults)
    for name in own[len(other) : max(required, 0)]:
        yield f"vLLM gives no argument {name!r}"
    keywords = {a.arg for a in mine.args.kwonlyargs}
    for argument in theirs.args.kwonlyargs:
        if argument.arg not in keywords and mine.args.kwarg is None:
            yield f"vLLM has a further keyword {argument.arg!r}"
    if theirs.args.kwarg is not None and mine.args.kwarg is None:
        yield "vLLM may give further keywords"


def check_attributes(tree: Tree) -> Iterator[str]:
    for module, classes in ATTRIBUTES.items():
        for name, attributes in classes.items():
            lineage = tree.lineage(module, name)
            if not lineage:
                yield f"{module} has no class {name}"
                continue
            there = {a for node in lineage for a in class_attributes(node)}
            for attribute in attributes:
                if attribute not in there:
                    yield f"{module}.{name} has no {attribute}"
    for (module, name), count in CALLS.items():
        found = tree.find(module, name)
        if found is None or not isinstance(found[1], ast.FunctionDef):
            yield f"{module} has no function {name}"
            continue
        arguments = found[1].args
        given = [*arguments.posonlyargs, *arguments.args]
        if not len(given) - len(arguments.defaults) <= count <= len(given):
            yield f"{module}.{name} does not take {count} arguments"


def class_attributes(node: ast.ClassDef) -> Iterator[str]:
    for line in node.body:
        yield from defined(line)
        if isinstance(line, ast.FunctionDef):
            for inner in ast.walk(line):
                if isinstance(inner, ast.Attribute) and ast.unparse(inner.value) == "self":
                    yield inner.attr


def main(folder: pathlib.Path) -> int:
    tree = Tree(folder)
    if tree.module("vllm") is None:
        sys.exit(f"{folder} holds no package vllm")
    faults = list(check_attributes(tree))
    for path in sorted(PACKAGE.glob("*.py")):
        source = ast.parse(path.read_text())
        faults += [*check_imports(tree, path.name, source), *check_classes(tree, path.name, source)]
    for fault in faults:
        print(fault)
    print(f"{len(faults)} differences")
    return 1 if faults else 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    sys.exit(main(pathlib.Path(sys.argv[1])))
