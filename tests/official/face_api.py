"""face-api's weights as TensorFlow.js stores them, and its networks, slowly, in float64, channels last."""

import json
import math
from pathlib import Path

import numpy as np

MEAN = np.array([122.782, 117.001, 104.298])


class Weights(dict):
    """Name -> float64 array, as the file will say it."""

    def __init__(self, seed=0):
        super().__init__()
        self.rng, self.entries, self.data = np.random.default_rng(seed), [], bytearray()

    def add(self, name, *shape, quantized=True):
        entry = {"name": name, "shape": list(shape), "dtype": "float32"}
        if quantized:
            q = self.rng.integers(0, 256, size=shape).astype(np.uint8)
            fan_in = max(1, math.prod(shape[:-1]))
            scale = 4 / (255 * fan_in**0.5)
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": -127 * scale}
            self[name], raw = q * scale - 127 * scale, q
        else:
            raw = self.rng.normal(size=shape).astype(np.float32) * 0.1
            self[name] = raw.astype(float)
        self.entries.append(entry)
        self.data += raw.tobytes()

    def conv(self, name, size, inputs, outputs):
        self.add(f"{name}/filters", size, size, inputs, outputs)
        self.add(f"{name}/bias", outputs, quantized=False)

    def separable(self, name, inputs, outputs):
        self.add(f"{name}/depthwise_filter", 3, 3, inputs, 1)
        self.add(f"{name}/pointwise_filter", 1, 1, inputs, outputs)
        self.add(f"{name}/bias", outputs, quantized=False)

    def dense(self, name, inputs, outputs):
        self.add(f"{name}/weights", inputs, outputs)
        self.add(f"{name}/bias", outputs, quantized=False)

    def write(self, folder: Path, name="net") -> Path:
        """In two shards."""
        half = len(self.data) // 2
        for i, part in enumerate((self.data[:half], self.data[half:])):
            (folder / f"{name}-shard{i}").write_bytes(bytes(part))
        path = folder / f"{name}-weights_manifest.json"
        path.write_text(
            json.dumps([{"weights": self.entries, "paths": [f"{name}-shard{i}" for i in (0, 1)]}])
        )
        return path


def dense_weights(*, outputs=7, width=2):
    w, inputs = Weights(), 3
    for i in range(4):
        channels = width * 2**i
        for j in range(4):
            if i == j == 0:
                w.conv("dense0/conv0", 3, 3, channels)
            else:
                w.separable(f"dense{i}/conv{j}", inputs if j == 0 else channels, channels)
        inputs = channels
    w.dense("fc", inputs, outputs)
    return w


def dense_net(w, images):  # [N, 112, 112, 3] in 0..255
    x = (images - MEAN) / 255
    for i in range(4):
        name = f"dense{i}/conv"
        o1 = _relu(conv(x, w, "dense0/conv0", 2) if i == 0 else separable(x, w, f"{name}0", 2))
        o2 = separable(o1, w, f"{name}1", 1)
        o3 = separable(_relu(o1 + o2), w, f"{name}2", 1)
        o4 = separable(_relu(o1 + o2 + o3), w, f"{name}3", 1)
        x = _relu(o1 + o2 + o3 + o4)
    return x.mean(axis=(1, 2)) @ w["fc/weights"] + w["fc/bias"]  # 7 x 7 are left


def xception_weights(*, width=2):
    w = Weights()
    w.conv("entry_flow/conv_in", 3, 3, width)
    for i in range(2):
        _reduction_weights(w, f"entry_flow/reduction_block_{i}", width << i, width << (i + 1))
    for i in range(2):
        for j in range(3):
            w.separable(f"middle_flow/main_block_{i}/separable_conv{j}", 4 * width, 4 * width)
    _reduction_weights(w, "exit_flow/reduction_block", 4 * width, 8 * width)
    w.separable("exit_flow/separable_conv", 8 * width, 16 * width)
    w.dense("fc/age", 16 * width, 1)
    w.dense("fc/gender", 16 * width, 2)
    return w


def _reduction_weights(w, name, inputs, outputs):
    w.separable(f"{name}/separable_conv0", inputs, outputs)
    w.separable(f"{name}/separable_conv1", outputs, outputs)
    w.conv(f"{name}/expansion_conv", 1, inputs, outputs)


def xception(w, images):
    def reduction(x, name, activate=True):
        y = separable(_relu(x) if activate else x, w, f"{name}/separable_conv0", 1)
        y = separable(_relu(y), w, f"{name}/separable_conv1", 1)
        return max_pool(y, 3, 2) + conv(x, w, f"{name}/expansion_conv", 2)

    x = _relu(conv((images - MEAN) / 255, w, "entry_flow/conv_in", 2))
    x = reduction(x, "entry_flow/reduction_block_0", activate=False)
    x = reduction(x, "entry_flow/reduction_block_1")
    for i in range(2):
        y = x
        for j in range(3):
            y = separable(_relu(y), w, f"middle_flow/main_block_{i}/separable_conv{j}", 1)
        x = x + y
    x = reduction(x, "exit_flow/reduction_block")
    x = _relu(separable(x, w, "exit_flow/separable_conv", 1)).mean(axis=(1, 2))
    return [x @ w[f"fc/{name}/weights"] + w[f"fc/{name}/bias"] for name in ("age", "gender")]


IDENTITY = [
    *(("conv32_1", 1, 1), ("conv32_2", 1, 1), ("conv32_3", 1, 1)),
    *(("conv64_down", 1, 2), ("conv64_1", 2, 2), ("conv64_2", 2, 2), ("conv64_3", 2, 2)),
    *(("conv128_down", 2, 4), ("conv128_1", 4, 4), ("conv128_2", 4, 4)),
    *(("conv256_down", 4, 8), ("conv256_1", 8, 8), ("conv256_2", 8, 8), ("conv256_down_out", 8, 8)),
]
"""Block, channels before and after, in widths of the first."""


def identity_weights(*, width=2):
    w = Weights()

    def scaled(name, size, inputs, outputs):
        w.conv(f"{name}/conv", size, inputs, outputs)
        w.add(f"{name}/scale/weights", outputs, quantized=False)
        w.add(f"{name}/scale/biases", outputs, quantized=False)

    scaled("conv32_down", 7, 3, width)
    for name, inputs, outputs in IDENTITY:
        scaled(f"{name}/conv1", 3, inputs * width, outputs * width)
        scaled(f"{name}/conv2", 3, outputs * width, outputs * width)
    w.add("fc", 8 * width, 128)
    return w


def identity(w, images):  # [N, 150, 150, 3]
    def scaled(x, name, stride=1, padding="same"):
        y = conv(x, w, f"{name}/conv", stride, padding)
        return y * w[f"{name}/scale/weights"] + w[f"{name}/scale/biases"]

    x = _relu(scaled((images - MEAN) / 255, "conv32_down", 2, "valid"))
    x = max_pool(x, 3, 2, "valid")
    for name, *_ in IDENTITY:
        down = "down" in name
        y = _relu(scaled(x, f"{name}/conv1", 2, "valid") if down else scaled(x, f"{name}/conv1"))
        y = scaled(y, f"{name}/conv2")
        if down:
            rows, columns = x.shape[1] // 2, x.shape[2] // 2
            x = x[:, : 2 * rows, : 2 * columns].reshape(len(x), rows, 2, columns, 2, -1).mean(axis=(2, 4))
            frame = np.zeros((len(x), rows, columns, y.shape[3]))
            frame[:, : y.shape[1], : y.shape[2]] += y
            frame[..., : x.shape[3]] += x
            x = _relu(frame)
        else:
            x = _relu(x + y)
    return x.mean(axis=(1, 2)) @ w["fc"]


def conv(x, w, name, stride, padding="same"):
    filters = w[f"{name}/filters"]
    return (
        _windows(x, filters.shape[0], stride, padding, 0.0, "nhwcij,ijco->nhwo", filters) + w[f"{name}/bias"]
    )


def separable(x, w, name, stride):
    x = _windows(x, 3, stride, "same", 0.0, "nhwcij,ijcm->nhwc", w[f"{name}/depthwise_filter"])
    return x @ w[f"{name}/pointwise_filter"][0, 0] + w[f"{name}/bias"]


def max_pool(x, size, stride, padding="same"):
    return _windows(x, size, stride, padding, -np.inf).max(axis=(-2, -1))


def _windows(x, size, stride, padding, fill, equation=None, filters=None):
    total = [
        max((-(-n // stride) - 1) * stride + size - n, 0) if padding == "same" else 0 for n in x.shape[1:3]
    ]
    frame = [(0, 0), *((t // 2, t - t // 2) for t in total), (0, 0)]
    x = np.pad(x, frame, constant_values=fill)
    seen = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    return seen if equation is None else np.einsum(equation, seen, filters, optimize=True)


def _relu(x):
    return np.maximum(x, 0)
