"""Converts a GGUF model file to a folder of bf16 safetensors that transformers loads quickly."""

import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.utils import logging


def convert(source: pathlib.Path, target: pathlib.Path) -> None:
    """Reads `source`, a .gguf file, and writes model and tokenizer into the folder `target`."""
    place = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
    # Without dequantize the weights stay packed, and a packed model cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        **place, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(**place).save_pretrained(target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: convert_gguf.py FILE.gguf FOLDER")
    torch.set_num_threads(2)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    convert(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
