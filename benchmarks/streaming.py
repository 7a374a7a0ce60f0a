"""Memory, speed and resumption of the prediction of large rasters.

    python benchmarks/streaming.py memory [--sides 20000 40000] [--classes 1 6]
    python benchmarks/streaming.py sparse [--bands 12 48]
    python benchmarks/streaming.py speed [--sides 2048 8192] [--repeats 3] [--threads 2]
    python benchmarks/streaming.py exact
    python benchmarks/streaming.py kill [--times 25]

``memory`` makes RGB rasters, segments each in a process of its own by a network of width 4 (whose
stem folds 4 x 4 pixels, so that it finishes) and samples that process' resident memory; it fails
above 1.5 GiB over what the process had with the model loaded, and where the largest raster takes
over 10 % more than the smallest. ``sparse`` does the same for a part of a strip of a raster of
10^6 x 10^6 pixels. ``speed`` compares the time from file to file with the bare
time of the network as it is in the file and of the engine that `predict` makes of it (as many calls
on one tile as there are tiles), and with MONAI's `sliding_window_inference` on the whole image in
memory, of the same tiles, overlap and network (width 16); runs alternate, medians are shown, CPU
seconds beside them, and the peak of the memory of each in a process of its own. ``exact`` compares
exact tiling with whole images up to 2048 x 2048 for all local networks. ``kill`` ends a prediction
by SIGKILL at random instants, resumes it, and compares the bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from delineate.distributed import amp_dtype
from delineate.memory import keep_freed_memory
from delineate.model_file import SegmentationModel, load_model, save_model
from delineate.models import build_model
from delineate.prediction.engines import torch_engine
from delineate.prediction.predict import predict
from delineate.prediction.predictor import Predictor, load_predictor
from delineate.prediction.streaming import stream_bands
from delineate.prediction.strips import memory_per_pixel, plan_strips
from delineate.prediction.tile_workers import choose_workers, count_cores
from delineate.preprocessing import Preprocessing
from delineate.raster_windows import create_raster, open_raster
from delineate.task import Task
from delineate.tiling import Window, plan_tiles

GIB = 2**30
MAX_ABOVE_MODEL = 1.5 * GIB
MAX_GROWTH = 1.10
MAX_TIME_RATIO = 1.05
MIN_SPEED_UP = 1.1


def make_model(path: Path, num_classes: int, **settings: Any) -> Path:
    torch.manual_seed(0)
    if num_classes == 1:
        task = Task("binary", ("thing",))
    else:
        names = tuple(f"class {index}" for index in range(num_classes))
        task = Task("multiclass", names, background=names[0])
    network = build_model("unet", 3, num_classes, **settings).eval()
    architecture = {
        "name": "unet",
        "in_channels": 3,
        "num_classes": num_classes,
        "settings": settings,
    }
    parts = (network, task, Preprocessing(3), architecture, (512, 512))
    save_model(SegmentationModel(*parts), path)
    return path


def make_scene(path: Path, side: int) -> Path:
    """Write smooth ground, which is quickly compressed."""
    rows, cols = np.ogrid[:1024, :1024]
    ground = 128 + 60 * np.sin(rows / 37) * np.cos(cols / 53)
    block = np.stack([ground + shift for shift in (-20, 0, 20)]).clip(0, 255).astype(np.uint8)
    with create_raster(path, side, side, bands=3) as writer:
        for row in range(0, side, 1024):
            for col in range(0, side, 1024):
                height, width = min(1024, side - row), min(1024, side - col)
                writer.write(Window(row, col, height, width), block[:, :height, :width])
    return path


def watch(arguments: list[str], ready: Path | None = None) -> tuple[int, int, float]:
    """Run this script with arguments; return its peak and base memory and its time.

    The base is what the process had when it made the file `ready`.
    """
    start = time.monotonic()
    child = subprocess.Popen([sys.executable, __file__, *arguments])
    process, peak, base = psutil.Process(child.pid), 0, 0
    while child.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    if child.wait():
        raise SystemExit(f"{arguments} failed")
    if ready is not None:
        base = json.loads(ready.read_text())
    return peak, base, time.monotonic() - start


def with_model(model: Path, ready: Path) -> None:
    """Load a model, compute a tile, and write down what memory that took."""
    make_engine(load_model(model))(torch.zeros(1, 3, 512, 512))
    ready.write_text(json.dumps(psutil.Process().memory_info().rss))


def measure_memory(sides: list[int], classes: list[int], folder: Path) -> bool:
    is_met = True
    print("classes    side   pixels    peak above model   of it over the smallest      time")
    for num_classes in classes:
        model = make_model(folder / "m.safetensors", num_classes, width=4, depth=4, stem_stride=4)
        first = None
        for side in sides:
            scene = make_scene(folder / "scene.tif", side)
            ready = folder / "ready"
            peak, base, seconds = watch(
                ["_predict", str(model), str(scene), str(folder / "out.tif"), str(ready)], ready
            )
            above = peak - base
            first = first or above
            print(
                f"{num_classes:7} {side:7} {side**2 / 1e6:6.0f} M {above / GIB:12.2f} GiB"
                f" {above / first:20.3f} {seconds:12.0f} s",
                flush=True,
            )
            is_met &= above < MAX_ABOVE_MODEL and above <= MAX_GROWTH * first
            (folder / "out.tif").unlink()
            scene.unlink()
    return is_met


def measure_sparse(bands: list[int], folder: Path) -> bool:
    import rasterio

    side = 10**6
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8"}
    tiles = {"tiled": True, "blockxsize": 2048, "blockysize": 2048, "compress": "deflate"}
    with rasterio.open(
        folder / "sparse.tif", "w", **profile, **tiles, SPARSE_OK=True, BIGTIFF=True
    ):
        pass
    model = make_model(folder / "m.safetensors", 1, width=4, depth=4, stem_stride=4)
    peaks = []
    for number in bands:
        ready = folder / "ready"
        peak, base, seconds = watch(
            ["_strip", str(model), str(folder / "sparse.tif"), str(number), str(ready)], ready
        )
        peaks.append(peak - base)
        print(f"10^6 x 10^6, {number} bands: {(peak - base) / GIB:.2f} GiB, {seconds:.0f} s")
    return max(peaks) < MAX_ABOVE_MODEL and max(peaks) <= MAX_GROWTH * peaks[0]


def compute_strip(model: Path, scene: Path, num_bands: int) -> None:
    loaded = load_model(model)
    engine = torch_engine(loaded.network, torch.device("cpu"))
    predictor = Predictor(engine, loaded.task, loaded.preprocessing)
    with open_raster(scene) as source:
        plan = plan_tiles(source.height, source.width, (512, 512), "blended")
        strips = plan_strips(plan, memory_per_pixel(3, 1))
        bands = stream_bands(
            *(predictor.tile_probs, source, loaded.preprocessing, plan, strips),
            num_classes=1,
            num_workers=choose_workers(count_cores()),
        )
        for _ in range(num_bands):
            next(bands)
        bands.close()


def make_engine(model: SegmentationModel) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the network as it is in the file, in the precision that `predict` takes here."""
    device = torch.device("cpu")
    return torch_engine(model.network, device, amp_dtype(device))


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure_speed(sides: list[int], repeats: int, width: int, folder: Path) -> bool:
    model = make_model(folder / "m.safetensors", 1, width=width, depth=4)
    loaded = load_model(model)
    bare = Predictor(make_engine(loaded), loaded.task, loaded.preprocessing, batch_size=1)
    engine = load_predictor(loaded, device="cpu")
    tile = np.random.default_rng(0).standard_normal((1, 3, 512, 512), dtype=np.float32)
    bare.tile_probs(tile)
    is_met = True
    for side in sides:
        scene = make_scene(folder / "scene.tif", side)
        out = folder / "out.tif"
        num_tiles = plan_tiles(side, side, (512, 512), "blended", stride=16).num_tiles
        names = ("bare", "engine", "ours", "MONAI")
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        settings = {"prediction": {"tiling": "blended", "batch_size": 1}}

        def ours() -> None:
            predict(loaded, scene, out=out, overrides=settings, exist_ok=True, device="cpu")  # noqa: B023

        def compute(predictor: Predictor) -> None:
            with keep_freed_memory():
                for _ in range(num_tiles):  # noqa: B023
                    predictor.tile_probs(tile)

        if side == sides[0]:  # libraries are loaded
            ours()
            slide(loaded, scene, out)
        for _ in range(repeats):
            runs["bare"].append(timed(lambda: compute(bare)))
            runs["engine"].append(timed(lambda: compute(engine)))
            runs["ours"].append(timed(ours))
            runs["MONAI"].append(timed(lambda: slide(loaded, scene, out)))  # noqa: B023
        walls = {name: statistics.median(w for w, _ in times) for name, times in runs.items()}
        cpus = {name: statistics.median(c for _, c in times) for name, times in runs.items()}
        print(f"{side} x {side}, {num_tiles} tiles of 512, width {width}:")
        for name in runs:
            memory = ""
            if name in ("ours", "MONAI"):
                ready = folder / "ready"
                arguments = [f"_{name.lower()}", str(model), str(scene), str(out), str(ready)]
                peak, base, _ = watch(arguments, ready)
                memory = f", {(peak - base) / GIB:.2f} GiB above the model"
            print(
                f"  {name:6} {walls[name]:8.1f} s ({walls[name] / walls['bare']:.3f} x bare), CPU "
                f"{cpus[name]:8.1f} s ({cpus[name] / cpus['bare']:.3f} x bare){memory}",
                flush=True,
            )
        print(f"  MONAI's time over ours: {walls['MONAI'] / walls['ours']:.2f}")
        is_met &= walls["ours"] <= MAX_TIME_RATIO * walls["bare"]
        is_met &= walls["MONAI"] >= MIN_SPEED_UP * walls["ours"]
    return is_met


def slide(model: SegmentationModel, scene: Path, out: Path) -> None:
    """Do with MONAI what ours does: from the file to the mask in a file."""
    from monai.inferers import sliding_window_inference

    from delineate.rasters import read_raster, write_mask

    image = model.preprocessing(read_raster(scene).pixels)
    engine = make_engine(model)
    probs = sliding_window_inference(
        torch.from_numpy(image)[None],
        (512, 512),
        1,
        lambda tiles: engine(tiles).float().sigmoid(),
        overlap=0.25,
        mode="gaussian",
    )
    write_mask(out, model.task.mask(probs[0].numpy()), task=model.task)


def measure_exact() -> bool:
    largest = 0.0
    for name in ("unet", "resunet"):
        for depth in (2, 3, 4):
            for norm in ("batch", "none"):
                torch.manual_seed(0)
                network = build_model(name, 3, 2, width=4, depth=depth, norm=norm).eval()
                engine = torch_engine(network, torch.device("cpu"))
                task = Task("multilabel", ("a", "b"))
                predictor = Predictor(
                    *(engine, task, Preprocessing(3)),
                    tile_size=(768, 768),
                    tiling="exact",
                    stride=network.stride,
                    halo=network.halo,
                )
                for shape in ((2048, 2048), (1023, 1501), (97, 2000)):
                    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
                    image = torch.from_numpy(predictor.preprocessing(pixels))[None]
                    whole = engine(image).sigmoid()[0].numpy()
                    error = float(np.abs(predictor.predict_probs(pixels) - whole).max())
                    print(f"{name} depth {depth} norm {norm} {shape}: {error:.1e}", flush=True)
                    largest = max(largest, error)
    print(f"largest difference of a probability: {largest:.1e}")
    return largest < 2e-6


def measure_kills(times: int, folder: Path) -> bool:
    model = make_model(folder / "m.safetensors", 1, width=4, depth=4, stem_stride=4)
    scene = make_scene(folder / "scene.tif", 4200)
    command = [sys.executable, "-m", "delineate", "predict", str(model), str(scene)]
    child = start_work(command, folder / "whole.tif")
    start = time.monotonic()
    if child.wait():
        raise SystemExit(f"{command} failed")
    length = time.monotonic() - start
    expected = digest(folder / "whole.tif")
    rng = random.Random(0)
    num_equal = num_resumed = 0
    for index in range(times):
        out = folder / f"{index}.tif"
        child = start_work(command, out)
        instant = rng.uniform(0, length)
        time.sleep(instant)
        child.kill()
        child.wait()
        is_begun = unfinished_work(out).exists()
        num_resumed += is_begun
        assert is_begun or not out.exists() or digest(out) == expected
        if not out.exists() or is_begun:
            resume = ["--resume"] if is_begun else []
            subprocess.run([*command, "--out", str(out), *resume], check=True, capture_output=True)
        num_equal += digest(out) == expected
        left = [path.name for path in folder.glob(f".{index}*")]
        print(
            f"{index}: killed after {instant:.1f} of {length:.1f} s, resumed {is_begun}, "
            f"equal {digest(out) == expected}, left {left}",
            flush=True,
        )
        out.unlink()
    print(f"{num_equal} of {times} byte-identical, {num_resumed} of them resumed")
    return num_equal == times


def start_work(command: list[str], out: Path) -> subprocess.Popen[bytes]:
    """Start a prediction and return it when it has begun to keep its work."""
    child = subprocess.Popen(
        [*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while child.poll() is None and not unfinished_work(out).exists():
        time.sleep(0.005)
    return child


def unfinished_work(out: Path) -> Path:
    return out.with_name(f".{out.name}.unfinished")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> int:
    if len(sys.argv) > 1 and sys.argv[1].startswith("_"):
        action, model, scene, where, ready = sys.argv[1:]
        with_model(Path(model), Path(ready))
        if action == "_strip":
            compute_strip(Path(model), Path(scene), int(where))
        elif action == "_monai":
            slide(load_model(Path(model)), Path(scene), Path(where))
        else:
            settings = {"prediction": {"tiling": "blended"}}
            predict(Path(model), Path(scene), out=Path(where), overrides=settings, exist_ok=True)
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["memory", "sparse", "speed", "exact", "kill"])
    parser.add_argument("--sides", type=int, nargs="+")
    parser.add_argument("--classes", type=int, nargs="+", default=[1, 6])
    parser.add_argument("--bands", type=int, nargs="+", default=[12, 48])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--times", type=int, default=25)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        is_met = {
            "memory": lambda: measure_memory(
                options.sides or [20000, 40000], options.classes, folder
            ),
            "sparse": lambda: measure_sparse(options.bands, folder),
            "speed": lambda: measure_speed(
                options.sides or [2048, 8192], options.repeats, options.width, folder
            ),
            "exact": measure_exact,
            "kill": lambda: measure_kills(options.times, folder),
        }[options.what]()
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
