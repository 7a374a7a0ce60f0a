"""Train the guide's own script, and a plain ResNet-18 U-Net, on a split of ours.

    python benchmarks/opponents.py DATA --opponent guide --width 16 [settings as for train]
    python benchmarks/opponents.py DATA --opponent resnet18 [settings as for train]

The opponents read the same files through the same decoding and the same split as `delineate train`,
and the settings about the data (legend, polarity, groups, ...) are written the same way. What is
theirs: crops, augmentation, network, loss, optimiser, schedule.

An opponent gets as many steps as its *fastest* measured step fits into the time, and its
validation is not counted: other load on the machine cannot hurt it. `--minutes 0` measures and
stops; `--steps` trains so many, for a machine that is busy with other things. After training,
thresholds 0.5 and the one that maximises Dice on the validation split are scored once on the test
split.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from delineate.cli.setting_flags import split_setting_flags
from delineate.config import build_settings, merge_settings
from delineate.data.inventory import build_inventory, read_data_file
from delineate.data.masks import inspect_masks
from delineate.metrics.confusion import ConfusionCounts
from delineate.metrics.curves import ProbabilityHistogram
from delineate.rasters import read_image

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CROP = 256


def rgb(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels[..., :3]
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


class Crops(Dataset):
    """One random crop of each image an item, with flips; `turns` adds quarter turns."""

    def __init__(self, samples, *, num_items: int, turns: bool) -> None:
        self.samples, self.num_items, self.turns = samples, num_items, turns

    def __len__(self) -> int:
        return self.num_items

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = random.Random(index * 7919 + 1)
        image, target = self.samples[rng.randrange(len(self.samples))]
        bottom, right = (max(0, CROP - n) for n in target.shape)
        if bottom or right:
            image = np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")
            target = np.pad(target, ((0, bottom), (0, right)), constant_values=255)
        row = rng.randint(0, target.shape[0] - CROP)
        col = rng.randint(0, target.shape[1] - CROP)
        image = image[row : row + CROP, col : col + CROP]
        target = target[row : row + CROP, col : col + CROP]
        if rng.random() < 0.5:
            image, target = image[:, ::-1], target[:, ::-1]
        if rng.random() < (0.5 if self.turns else 0.2):
            image, target = image[::-1], target[::-1]
        if self.turns:
            turns = rng.randrange(4)
            image, target = np.rot90(image, turns), np.rot90(target, turns)
        return normalise(image)[0], torch.from_numpy(target.astype(np.int64))


def normalise(image: np.ndarray) -> Tensor:
    values = (image.astype(np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    return torch.from_numpy(values.astype(np.float32).transpose(2, 0, 1).copy())[None]


class GuideBlock(nn.Module):
    """The guide's residual block (section 2.2), with GroupNorm of 8 groups."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.GroupNorm(8, out), nn.GroupNorm(8, out)
        self.shortcut = (
            nn.Identity() if channels == out else nn.Conv2d(channels, out, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class GuideResUNet(nn.Module):
    """The guide's ResUNet (section 2.2)."""

    stride = 16

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        w = [width * 2**level for level in range(5)]
        self.encoder = nn.ModuleList(
            nn.Sequential(GuideBlock(3 if i == 0 else w[i - 1], w[i]), GuideBlock(w[i], w[i]))
            for i in range(4)
        )
        self.center = GuideBlock(w[3], w[4])
        self.up = nn.ModuleList(nn.ConvTranspose2d(w[i + 1], w[i], 2, stride=2) for i in range(4))
        self.decoder = nn.ModuleList(GuideBlock(2 * w[i], w[i]) for i in range(4))
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level in self.encoder:
            x = level(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.center(x)
        for i in reversed(range(4)):
            x = self.decoder[i](torch.cat([self.up[i](x), skips[i]], dim=1))
        return self.head(x)


class BasicBlock(nn.Module):
    """ResNet's basic block."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(True),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def double_conv(channels: int, out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (channels, out):
        layers += [nn.Conv2d(inputs, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(True)]
    return nn.Sequential(*layers)


class ResNet18UNet(nn.Module):
    """U-Net decoder (256, 128, 64, 32, 16) on a ResNet-18 encoder, all from scratch."""

    stride = 32

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(True)
        )
        widths = (64, 64, 128, 256, 512)
        self.stages = nn.ModuleList(
            nn.Sequential(
                BasicBlock(widths[i], widths[i + 1], 1 if i == 0 else 2),
                BasicBlock(widths[i + 1], widths[i + 1], 1),
            )
            for i in range(4)
        )
        decoder = ((512, 256, 256), (256, 128, 128), (128, 64, 64), (64, 64, 32), (32, 0, 16))
        self.decoder = nn.ModuleList(double_conv(a + skip, b) for a, skip, b in decoder)
        self.head = nn.Conv2d(16, num_classes, 3, 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.stem(x)]
        x = F.max_pool2d(skips[0], 3, 2, 1)
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for block in self.decoder:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skips.pop()], dim=1) if skips else x)
        return self.head(x)


def overlap_loss(probs: Tensor, onehot: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    dice = (2 * (probs * onehot).sum(dims) + eps) / (probs.sum(dims) + onehot.sum(dims) + eps)
    return 1 - dice


def split_target(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities, one-hot target and valid pixels, all (B, C, H, W)."""
    valid = (target != 255)[:, None]
    if logits.shape[1] == 1:
        return logits.sigmoid() * valid, (target == 1)[:, None].float(), valid
    onehot = F.one_hot(target.where(target != 255, 0), logits.shape[1]).movedim(-1, 1) * valid
    return logits.softmax(1) * valid, onehot.float(), valid


def focal_dice(logits: Tensor, target: Tensor) -> Tensor:
    """The guide's Focal-Dice (lambda 0.5, alpha 0.25, gamma 2); softmax for several classes."""
    probs, onehot, valid = split_target(logits, target)
    dice = overlap_loss(probs, onehot, (2, 3), 1e-6).mean()
    if logits.shape[1] == 1:
        entropy = F.binary_cross_entropy_with_logits(logits, onehot, reduction="none")
        alpha = 0.25 * onehot + 0.75 * (1 - onehot)
        focal = alpha * entropy * (1 - torch.exp(-entropy)) ** 2
        return 0.5 * dice + 0.5 * (focal * valid).sum() / valid.sum().clamp(min=1)
    entropy = F.cross_entropy(logits, target, ignore_index=255, reduction="none")
    focal = entropy * (1 - torch.exp(-entropy)) ** 2
    return 0.5 * dice + 0.5 * focal.sum() / valid.sum().clamp(min=1)


def dice_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    probs, onehot, valid = split_target(logits, target)
    dice = overlap_loss(probs, onehot, (0, 2, 3), 1.0).mean()
    if logits.shape[1] == 1:
        entropy = F.binary_cross_entropy_with_logits(logits, onehot, reduction="none")
        return dice + (entropy * valid).sum() / valid.sum().clamp(min=1)
    return dice + F.cross_entropy(logits, target, ignore_index=255)


def predict(model: nn.Module, image: np.ndarray) -> np.ndarray:
    """Probabilities of a whole image, padded to the stride."""
    x = normalise(image)
    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % model.stride, 0, -height % model.stride), mode="replicate")
    with torch.inference_mode():
        logits = model(x)[..., :height, :width]
    probs = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)
    return probs[0].numpy()


def score(model, samples, task, threshold: float):
    """Pooled counts at a threshold, and the histogram for choosing one."""
    model.eval()
    counts, histogram = ConfusionCounts(task), ProbabilityHistogram(task)
    for image, target in samples:
        probs = predict(model, image)
        counts.update(task.mask(probs, [threshold] * task.num_classes), target)
        if task.has_threshold:
            histogram.update(probs, target)
    model.train()
    return counts, histogram


def pooled_dice(counts: ConfusionCounts) -> float:
    return counts.scores()["dice"] or 0.0


def fastest_step(step, loader: DataLoader, model: nn.Module) -> float:
    """Seconds of the fastest of a loader's steps; the model comes back as it was."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    seconds = []
    for images, targets in loader:
        start = time.perf_counter()
        step(images, targets)
        seconds.append(time.perf_counter() - start)
    model.load_state_dict(state)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--opponent", choices=["guide", "resnet18"], required=True)
    parser.add_argument("--width", type=int, default=16, help="width of the guide's ResUNet")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--steps", type=int, help="train so many steps instead of measuring")
    parser.add_argument("--seed", type=int, default=0)
    args, flags = parser.parse_known_args()

    torch.manual_seed(args.seed)
    rest, overrides = split_setting_flags(flags)
    if rest:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    settings = build_settings(merge_settings(read_data_file(args.data), overrides))
    inventory = build_inventory(args.data, settings.data)
    task, decoder = inspect_masks(inventory, settings.data, settings.task)

    def load(split: str):
        pairs = []
        for sample in inventory.of(split):
            image = rgb(read_image(sample.image))
            pairs.append((image, decoder.decode(sample.masks, image.shape[:2])))
        return pairs

    train, val = load("train"), load("val")
    if args.opponent == "guide":
        model, loss_of, batch, rate = (
            GuideResUNet(task.num_classes, args.width),
            focal_dice,
            6,
            3e-4,
        )
    else:
        model, loss_of, batch, rate = ResNet18UNet(task.num_classes), dice_cross_entropy, 8, 1e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)

    def step(images: Tensor, targets: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(model(images), targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def loader(num_items: int) -> DataLoader:
        crops = Crops(train, num_items=num_items, turns=args.opponent == "resnet18")
        return DataLoader(crops, batch_size=batch, num_workers=1, prefetch_factor=4)

    num_steps, seconds = args.steps, None
    if num_steps is None:
        seconds = fastest_step(step, loader(batch * 12), model)
        num_steps = int(args.minutes * 60 / seconds)
        print(f"{seconds:.4f} s a step, {num_steps} steps", flush=True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
    if num_steps == 0:
        return

    warmup = 0 if args.opponent == "guide" else max(1, num_steps // 20)
    best, best_state, check_every = -1.0, None, max(1, num_steps // 10)
    for index, (images, targets) in enumerate(loader(num_steps * batch)):
        progress = max(0, index - warmup) / (num_steps - warmup)
        factor = (
            (index + 1) / warmup if index < warmup else 0.5 * (1 + math.cos(math.pi * progress))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        step(images, targets)
        if (index + 1) % check_every == 0 or index + 1 == num_steps:
            dice = pooled_dice(score(model, val, task, 0.5)[0])
            print(f"step {index + 1}/{num_steps}  validation Dice {dice:.4f}", flush=True)
            if dice > best:
                best = dice
                best_state = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best_state)

    tuned = 0.5
    if task.has_threshold:
        tuned = score(model, val, task, 0.5)[1].best_threshold(0)[0]
    test = load("test")
    result = {
        "data": args.data.name,
        "opponent": args.opponent + (f"-w{args.width}" if args.opponent == "guide" else ""),
        "num_steps": num_steps,
        "seconds_per_step": seconds and round(seconds, 4),
        "validation_dice": round(best, 4),
        "threshold": tuned,
        "test_dice_at_half": round(pooled_dice(score(model, test, task, 0.5)[0]), 4),
        "test_dice_tuned": round(pooled_dice(score(model, test, task, tuned)[0]), 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
