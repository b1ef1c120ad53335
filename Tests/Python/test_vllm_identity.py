"""Names of weights and adapters: other bytes, another name; the same bytes elsewhere, the same."""

from __future__ import annotations

import os
import pathlib
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from vllm_engines import engine_config, llama_config

from kdn.engines._rope import UnsupportedModel
from kdn.engines.vllm.identity import READ_BYTES, LoraDigests, model_name
from kdn.errors import FieldError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def folder(root: pathlib.Path, name: str = "model", **files: bytes) -> pathlib.Path:
    """A model's folder; `__` in a file's name stands for a dot."""
    path = root / name
    path.mkdir()
    contents = files or {"model__safetensors": b"weights"}
    for file, data in contents.items():
        (path / file.replace("__", ".")).write_bytes(data)
    return path


def local(path: pathlib.Path, **changes: Any) -> Any:
    return engine_config(model_config__model=str(path), **changes)


def test_the_same_weights_have_the_same_name_in_any_folder(tmp_path: pathlib.Path) -> None:
    first = model_name(local(folder(tmp_path, "one")))
    assert first == model_name(local(folder(tmp_path, "two")))
    assert first.startswith("llama-files-")


def test_one_changed_bit_far_inside_a_file_is_another_name(tmp_path: pathlib.Path) -> None:
    data = bytes(2 * READ_BYTES + 5)
    changed = bytearray(data)
    changed[READ_BYTES + 1] ^= 1
    names = {
        model_name(local(folder(tmp_path, "a", model__safetensors=data))),
        model_name(local(folder(tmp_path, "b", model__safetensors=bytes(changed)))),
        model_name(local(folder(tmp_path, "c", model__safetensors=data[:-1]))),
        model_name(local(folder(tmp_path, "d", a__safetensors=data, b__safetensors=b""))),
    }
    assert len(names) == 4


def test_the_same_bytes_in_files_of_other_names_are_another_name(tmp_path: pathlib.Path) -> None:
    parts = model_name(local(folder(tmp_path, "a", one__safetensors=b"1", two__safetensors=b"2")))
    other = model_name(local(folder(tmp_path, "b", one__safetensors=b"1", two__gguf=b"2")))
    assert parts != other


def test_files_that_hold_no_weights_do_not_matter(tmp_path: pathlib.Path) -> None:
    plain = model_name(local(folder(tmp_path, "a")))
    noted = folder(tmp_path, "b", model__safetensors=b"weights", README__md=b"words")
    assert model_name(local(noted)) == plain


@pytest.mark.parametrize(
    "changes",
    [
        {"model_config__dtype": torch.bfloat16},
        {"model_config__quantization": "fp8"},
        {"model_config__hf_config": llama_config(rope_theta=1.0)},
        {"model_config__code_revision": "other"},
        {"load_config__load_format": "gguf"},
    ],
)
def test_whatever_turns_weights_into_kv_is_in_the_name(
    tmp_path: pathlib.Path, changes: dict[str, Any]
) -> None:
    path = folder(tmp_path)
    assert model_name(local(path)) != model_name(local(path, **changes))


def test_cosmetic_facts_are_not_in_the_name(tmp_path: pathlib.Path) -> None:
    path = folder(tmp_path)
    cosmetic = llama_config(_name_or_path="elsewhere", transformers_version="6")
    assert model_name(local(path, model_config__hf_config=cosmetic)) == model_name(local(path))


def test_a_single_file_is_named_by_its_bytes(tmp_path: pathlib.Path) -> None:
    path = folder(tmp_path, model__gguf=b"weights") / "model.gguf"
    assert model_name(local(path)).startswith("llama-files-")


def test_a_hubs_model_is_named_by_its_commit_and_never_without() -> None:
    hub = {"model_config__model": "maker/model"}
    name = model_name(engine_config(**hub, model_config__revision=COMMIT))
    assert name.startswith(f"maker/model@{COMMIT}-")
    for revision in (None, "main", COMMIT[:7]):
        with pytest.raises(UnsupportedModel):
            model_name(engine_config(**hub, model_config__revision=revision))


@pytest.mark.parametrize(
    "changes",
    [
        {"load_config__load_format": "dummy"},
        {"load_config__load_format": "tensorizer"},
        {"model_config__model_weights": "s3://somewhere"},
    ],
)
def test_weights_that_no_file_here_holds_have_no_name(
    tmp_path: pathlib.Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedModel):
        model_name(local(folder(tmp_path), **changes))
    assert model_name(local(folder(tmp_path, "other"), **changes), "mine") == "mine"


def test_a_folder_without_weights_has_no_name(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UnsupportedModel):
        model_name(local(folder(tmp_path, config__json=b"{}")))


@pytest.mark.parametrize("given", ["", "x" * 353, "é" * 200])
def test_a_given_name_has_limits(given: str) -> None:
    with pytest.raises(FieldError):
        model_name(engine_config(), given)


# Adapters.


def adapter(path: pathlib.Path, number: int = 1) -> Any:
    return SimpleNamespace(lora_int_id=number, lora_path=str(path))


def settled(digests: LoraDigests, request: Any) -> bytes | None:
    """The digest once the reading thread is done."""
    digests.digest(request)
    digests.close()
    return digests.digest(request)


def test_an_adapter_has_no_digest_until_it_was_read_and_then_that_of_its_bytes(
    tmp_path: pathlib.Path,
) -> None:
    first = folder(tmp_path, "a", adapter_model__safetensors=b"A")
    again = folder(tmp_path, "b", adapter_model__safetensors=b"A")
    other = folder(tmp_path, "c", adapter_model__safetensors=b"B")
    digests = LoraDigests()
    assert digests.digest(adapter(first)) is None
    found = [settled(digests, adapter(path, n)) for n, path in enumerate((first, again, other), 1)]
    assert found[0] == found[1] != found[2]
    assert all(digest is not None and len(digest) == 32 for digest in found)


def test_an_adapters_config_is_part_of_it(tmp_path: pathlib.Path) -> None:
    plain = folder(tmp_path, "a", adapter_model__safetensors=b"A", adapter_config__json=b"8")
    scaled = folder(tmp_path, "b", adapter_model__safetensors=b"A", adapter_config__json=b"9")
    digests = LoraDigests()
    assert settled(digests, adapter(plain, 1)) != settled(digests, adapter(scaled, 2))


def test_an_adapter_whose_files_change_has_no_digest_from_then_on(tmp_path: pathlib.Path) -> None:
    path = folder(tmp_path, adapter_model__safetensors=b"A")
    digests = LoraDigests()
    assert settled(digests, adapter(path)) is not None
    (path / "adapter_model.safetensors").write_bytes(b"BB")
    assert digests.digest(adapter(path)) is None
    (path / "adapter_model.safetensors").write_bytes(b"A")
    assert settled(digests, adapter(path)) is None


def test_an_adapter_that_is_no_local_folder_has_no_digest(tmp_path: pathlib.Path) -> None:
    digests = LoraDigests()
    assert settled(digests, adapter(tmp_path / "hub" / "adapter")) is None
    empty = tmp_path / "empty"
    empty.mkdir()
    assert settled(digests, adapter(empty, 2)) is None
