from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from delineate.errors import ModelFileError
from delineate.model_file import (
    FILE_NAME,
    FORMAT_VERSION,
    METADATA_KEY,
    SegmentationModel,
    info,
    load_model,
    read_model_info,
    save_model,
)
from delineate.models import MODELS, build_model
from delineate.models.ensemble import Ensemble
from delineate.preprocessing import Preprocessing
from delineate.task import Task


def make_model(name: str = "unet", **settings: Any) -> SegmentationModel:
    settings = {"width": 4, "depth": 2, **settings}
    torch.manual_seed(0)
    network = build_model(name, 3, 2, **settings).eval()
    return SegmentationModel(
        network=network,
        task=Task("multilabel", ("road", "roof")),
        preprocessing=Preprocessing(3, (0.0, 255.0), (0.5, 0.4, 0.3), (0.2, 0.2, 0.1)),
        architecture={
            "name": name,
            "in_channels": 3,
            "num_classes": 2,
            "settings": settings,
            "num_members": 1,
        },
        tile_size=(64, 48),
        thresholds=(0.25, 0.75),
        prediction={"overlap": 0.5, "postprocessing": {"min_object_area": 7}},
        metrics={"dice": np.float32(0.5), "undefined": float("nan")},
        provenance={"seed": 3, "config": {"training": {"epochs": 1}}},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_model(make_model(), tmp_path / FILE_NAME)
    return tmp_path / FILE_NAME


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def join(header: dict[str, Any], tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the document of a model file and leave the rest as it is."""
    header, tensors = split(path.read_bytes())
    document = json.loads(header["__metadata__"][METADATA_KEY])
    change(document)
    header["__metadata__"][METADATA_KEY] = json.dumps(document)
    path.write_bytes(join(header, tensors))


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_a_loaded_model_is_the_saved_one(tmp_path: Path, name: str, norm: str) -> None:
    model = make_model(name, norm=norm)
    save_model(model, tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    images = torch.rand(1, 3, 17, 20)
    with torch.inference_mode():
        assert torch.equal(loaded.network(images), model.network(images))
    assert not loaded.network.training
    for part in ("task", "preprocessing", "architecture", "tile_size", "thresholds", "prediction"):
        assert getattr(loaded, part) == getattr(model, part), part
    assert loaded.metrics == {"dice": 0.5, "undefined": None}
    assert loaded.provenance == model.provenance


def test_equal_models_are_equal_bytes(tmp_path: Path, path: Path) -> None:
    save_model(make_model(), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    save_model(load_model(path), tmp_path / "resaved.safetensors")
    assert (tmp_path / "resaved.safetensors").read_bytes() == path.read_bytes()
    header, _ = split(path.read_bytes())
    assert list(header["__metadata__"]) == [METADATA_KEY]


def test_loading_leaves_the_random_numbers_alone(path: Path) -> None:
    before = torch.get_rng_state()
    load_model(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_reduced_precision_weights_are_saved_in_float32(tmp_path: Path) -> None:
    model = make_model()
    model.network.bfloat16()
    save_model(model, tmp_path / "m.safetensors")
    dtypes = {p.dtype for p in load_model(tmp_path / "m.safetensors").network.parameters()}
    assert dtypes == {torch.float32}


def test_a_run_folder_stands_for_its_model(path: Path) -> None:
    assert load_model(path.parent).thresholds == (0.25, 0.75)
    assert read_model_info(path.parent) == read_model_info(path)


def test_info_holds_stride_and_halo_and_loads_no_torch(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from delineate.model_file import read_model_info; "
        f"info = read_model_info(Path({str(path)!r})); "
        "print(info['stride'], info['halo'], 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    network = make_model().network
    assert result.stdout.split() == [str(network.stride), str(network.halo), "False"], result.stderr


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no model at"):
        load_model(tmp_path / "none.safetensors")
    with pytest.raises(ModelFileError, match=r"folder without model\.safetensors"):
        load_model(tmp_path)


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_header_of_any_length_is_read(tmp_path: Path) -> None:
    """Lengths such as 0x0280 and 0x4B50 are the first bytes of a pickle and of a zip archive."""
    model = make_model()
    path = tmp_path / FILE_NAME
    found = set()
    for padding in range(0, 256, 8):  # safetensors pads headers to multiples of 8
        model.provenance = {"padding": "x" * padding}
        save_model(model, path)
        found.add(path.read_bytes()[0])
        assert read_model_info(path)["provenance"] == model.provenance
    assert 0x80 in found
    header, tensors = split(path.read_bytes())
    document = json.loads(header["__metadata__"][METADATA_KEY])
    document["provenance"] = {"padding": ""}
    header["__metadata__"][METADATA_KEY] = json.dumps(document)
    missing = 0x4B50 - (len(join(header, b"")) - 8)
    document["provenance"]["padding"] = "x" * missing
    header["__metadata__"][METADATA_KEY] = json.dumps(document)
    path.write_bytes(join(header, tensors))
    assert path.read_bytes().startswith(b"PK")
    assert read_model_info(path)["provenance"] == document["provenance"]


def test_pickles_are_refused_and_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    torch.save({"weights": Canary(canary)}, tmp_path / "archive.pt")
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Canary(canary)))
    for name in ("archive.pt", "model.pkl"):
        with pytest.raises(ModelFileError, match="could run code"):
            load_model(tmp_path / name)
        with pytest.raises(ModelFileError, match="could run code"):
            read_model_info(tmp_path / name)
    assert not canary.exists()


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ModelFileError, match="no description of a delineate model"):
        load_model(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 8, 300, -1])
def test_truncated_files_are_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelFileError, match="not a usable model file"):
        load_model(path)


@pytest.mark.parametrize(
    "content",
    [
        (2**63).to_bytes(8, "little") + b"{}",
        (20 * 2**20).to_bytes(8, "little") + b" " * (21 * 2**20),
        join({"a": []}, b""),
        (7).to_bytes(8, "little") + b"[1,2,3]",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        join({"__metadata__": {METADATA_KEY: "[" * 100_000}}, b""),
        join({"__metadata__": {METADATA_KEY: "NaN"}}, b""),
        join({"__metadata__": 3}, b""),
        b"\xff\xfe not a model at all",
    ],
    ids=["huge", "long", "entry", "list", "deep", "deep-document", "nan", "metadata", "text"],
)
def test_forged_headers_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "forged.safetensors").write_bytes(content)
    for read in (load_model, read_model_info):
        with pytest.raises(ModelFileError, match=r"forged\.safetensors"):
            read(tmp_path / "forged.safetensors")


def test_weights_that_are_not_finite_are_refused(path: Path) -> None:
    header, tensors = split(path.read_bytes())
    floats = {k: v for k, v in header.items() if v.get("dtype") == "F32"}
    start, end = next(iter(floats.values()))["data_offsets"]
    spoiled = bytearray(tensors)
    spoiled[start:end] = np.full((end - start) // 4, np.nan, np.float32).tobytes()
    path.write_bytes(join(header, bytes(spoiled)))
    with pytest.raises(ModelFileError, match="not finite"):
        load_model(path)
    model = make_model()
    next(model.network.parameters()).data.fill_(np.inf)
    with pytest.raises(ModelFileError, match="not finite"):
        save_model(model, path.with_name("inf.safetensors"))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_first_format_is_read_as_one_that_was_not_tuned(path: Path) -> None:
    def age(document: dict[str, Any]) -> None:
        del document["temperature"], document["tuning"], document["architecture"]["num_members"]
        document["format_version"] = 1

    edit(path, age)
    model = load_model(path)
    assert (model.temperature, model.tuning, model.thresholds) == (1.0, {}, (0.25, 0.75))
    assert read_model_info(path)["format_version"] == FORMAT_VERSION


def test_the_second_format_is_read_as_one_network(path: Path) -> None:
    def age(document: dict[str, Any]) -> None:
        del document["architecture"]["num_members"]
        document["format_version"] = 2

    edit(path, age)
    assert load_model(path).architecture == make_model().architecture


def make_ensemble(num_members: int = 3) -> SegmentationModel:
    model = make_model()
    members = [build_model("unet", 3, 2, width=4, depth=2).eval() for _ in range(num_members)]
    model.network = Ensemble(members, model.task.kind)
    model.architecture["num_members"] = num_members
    return model


def test_an_ensemble_is_one_model_file(tmp_path: Path) -> None:
    model = make_ensemble()
    save_model(model, tmp_path / FILE_NAME)
    loaded = load_model(tmp_path)
    images = torch.rand(1, 3, 17, 20)
    with torch.inference_mode():
        assert torch.equal(loaded.network(images), model.network(images))
    document = info(tmp_path)
    assert document["architecture"]["num_members"] == 3
    assert (document["stride"], document["halo"]) == (model.network.stride, model.network.halo)
    assert document["num_parameters"] == sum(p.numel() for p in model.network.parameters())
    resaved = tmp_path / "resaved.safetensors"
    save_model(loaded, resaved)
    assert resaved.read_bytes() == (tmp_path / FILE_NAME).read_bytes()


def test_an_ensemble_averages_as_its_task_says(tmp_path: Path) -> None:
    """The task of the document decides how members are joined, not the file's class names."""
    model = make_ensemble(2)
    save_model(model, tmp_path / FILE_NAME)
    images = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        before = load_model(tmp_path).network(images)
        edit(
            tmp_path / FILE_NAME,
            lambda d: (d["task"].update(kind="multiclass"), d.update(thresholds=None)),
        )
        after = load_model(tmp_path).network(images)
    mean = torch.stack([m(images).softmax(dim=1) for m in model.network.members]).mean(dim=0)
    torch.testing.assert_close(after.exp(), mean)
    assert not torch.allclose(before, after)


@pytest.mark.parametrize(
    ("num_members", "complaint"),
    [
        (2, r"members\.2\..* is F32 .* the architecture has absent"),
        (4, r"members\.3\..* is absent"),
        (1, r"tensor decoder\..* is absent"),
        (64, "is absent"),
        (0, "num_members"),
        (65, "num_members"),
        (10**9, "num_members"),
        (True, "num_members"),
        ("3", "num_members"),
    ],
)
def test_a_wrong_number_of_members_is_refused_at_once(
    tmp_path: Path, num_members: Any, complaint: str
) -> None:
    save_model(make_ensemble(), tmp_path / FILE_NAME)
    edit(tmp_path / FILE_NAME, lambda d: d["architecture"].update(num_members=num_members))
    started = time.monotonic()
    with pytest.raises(ModelFileError, match=complaint):
        load_model(tmp_path)
    assert time.monotonic() - started < 5


def test_a_newer_format_asks_for_a_newer_program(path: Path) -> None:
    edit(path, lambda document: document.update(format_version=FORMAT_VERSION + 1))
    with pytest.raises(ModelFileError, match="install a newer delineate"):
        load_model(path)


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "thresholds": lambda d: d.update(thresholds=[0.5, 1.5]),
    "number of thresholds": lambda d: d.update(thresholds=[0.5]),
    "tile_size": lambda d: d.update(tile_size=[0, 64]),
    "overlap": lambda d: d["prediction"].update(overlap=1.0),
    "task": lambda d: d["task"].update(kind="binary"),
    "surprise": lambda d: d.update(surprise=1),
    "stride": lambda d: d.pop("stride"),
    "mean": lambda d: d["preprocessing"].pop("mean"),
    "in_channels": lambda d: d["architecture"].update(in_channels=4),
    "num_classes": lambda d: d["architecture"].update(num_classes=3),
    "nonesuch": lambda d: d["architecture"].update(name="nonesuch"),
    "depth": lambda d: d["architecture"]["settings"].update(depth=40),
    "tensor": lambda d: d["architecture"]["settings"].update(width=8),
    "absent": lambda d: d["architecture"]["settings"].update(depth=3),
}


@pytest.mark.parametrize("field", sorted(CHANGES))
def test_a_document_that_does_not_fit_is_refused(path: Path, field: str) -> None:
    edit(path, CHANGES[field])
    with pytest.raises(ModelFileError, match=field):
        load_model(path)


@pytest.mark.parametrize(
    "settings",
    [
        {"width": 10**7, "max_width": 10**7},
        {"width": 10**12, "max_width": 10**12},
        {"width": 10**30, "max_width": 10**30},
        {"deep_supervision": 10**9},
    ],
)
def test_a_huge_architecture_takes_no_memory(path: Path, settings: dict[str, int]) -> None:
    edit(path, lambda document: document["architecture"]["settings"].update(settings))
    with pytest.raises(ModelFileError, match="not a usable model file"):
        load_model(path)
