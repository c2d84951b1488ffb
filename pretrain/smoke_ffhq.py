"""data/smoke-ffhq: files of the official formats, and tiny data sets in the official layouts, all random.

    python -m pretrain.smoke_ffhq

They prove the path of photographs: rosinality's G and D (256 px, narrow), the baseline's regressor, VGG-19
and DeepFace's emotions under their published keys, CelebA and LaPa folders. Their numbers mean nothing.
"""

import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hfld.attributes import ATTRIBUTES
from hfld.checkpoints import save_network
from hfld.config import Profile, load_profile
from hfld.networks.emotion import EmotionNet
from hfld.networks.resnet import ResNet
from hfld.networks.stylegan2 import Discriminator, Generator
from hfld.networks.vgg import VGG19Features
from hfld.photos.judges import EMOTION
from hfld.portraits.parameters import sample
from hfld.portraits.render import render_latents

CHANNELS = {4: 16, 8: 16, 16: 16, 32: 16, 64: 8, 128: 8, 256: 4}
W = 32
KERNEL = torch.outer(*[torch.tensor([1.0, 3.0, 3.0, 1.0])] * 2) / 64


def rosinality(generator: Generator, discriminator: Discriminator) -> dict[str, dict[str, Tensor] | Tensor]:
    """Our networks under the keys of github.com/rosinality/stylegan2-pytorch."""
    theirs: dict[str, Tensor] = {}
    own = generator.state_dict()
    for i in range(len(generator.mapping.layers)):
        for kind in ("weight", "bias"):
            theirs[f"style.{i + 1}.{kind}"] = own[f"mapping.layers.{i}.{kind}"]
    theirs["input.input"] = own["synthesis.constant"]
    for i in range(len(generator.synthesis.convs)):
        ours, name = f"synthesis.convs.{i}", "conv1" if i == 0 else f"convs.{i - 1}"
        theirs[f"{name}.conv.weight"] = own[f"{ours}.weight"][None]
        theirs[f"{name}.conv.modulation.weight"] = own[f"{ours}.style.weight"]
        theirs[f"{name}.conv.modulation.bias"] = own[f"{ours}.style.bias"]
        theirs[f"{name}.noise.weight"] = own[f"{ours}.noise_strength"].reshape(1)
        theirs[f"{name}.activate.bias"] = own[f"{ours}.bias"]
        theirs[f"noises.noise_{i}"] = own[f"{ours}.noise"]
        if i % 2:
            theirs[f"{name}.conv.blur.kernel"] = 4 * KERNEL
    for i in range(len(generator.synthesis.to_rgbs)):
        ours, name = f"synthesis.to_rgbs.{i}", "to_rgb1" if i == 0 else f"to_rgbs.{i - 1}"
        theirs[f"{name}.conv.weight"] = own[f"{ours}.weight"][None]
        theirs[f"{name}.conv.modulation.weight"] = own[f"{ours}.style.weight"]
        theirs[f"{name}.conv.modulation.bias"] = own[f"{ours}.style.bias"]
        theirs[f"{name}.bias"] = own[f"{ours}.bias"].reshape(1, 3, 1, 1)
    own, judged = discriminator.state_dict(), {}
    judged["convs.0.0.weight"], judged["convs.0.1.bias"] = own["from_rgb.weight"], own["from_rgb.bias"]
    for i in range(len(discriminator.blocks)):
        for kind in ("weight", "bias"):
            place = {"weight": (0, 1), "bias": (1, 2)}[kind]
            judged[f"convs.{i + 1}.conv1.{place[0]}.{kind}"] = own[f"blocks.{i}.conv1.{kind}"]
            judged[f"convs.{i + 1}.conv2.{place[1]}.{kind}"] = own[f"blocks.{i}.conv2.{kind}"]
        judged[f"convs.{i + 1}.skip.1.weight"] = own[f"blocks.{i}.skip.weight"]
    judged |= {"final_conv.0.weight": own["conv.weight"], "final_conv.1.bias": own["conv.bias"]}
    for i, name in enumerate(("dense", "out")):
        judged |= {f"final_linear.{i}.{kind}": own[f"{name}.{kind}"] for kind in ("weight", "bias")}
    return {"g_ema": theirs, "d": judged, "latent_avg": torch.zeros(W)}


def official_files(folder: Path, size: int) -> None:
    """G and D, R, F and the emotion net as their makers hand them out; a judge of identity of our own."""
    (folder / EMOTION).parent.mkdir(parents=True)
    torch.manual_seed(0)
    generator = Generator(size=size, z_dim=W, w_dim=W, mapping_layers=2, channels=CHANNELS)
    discriminator = Discriminator(size=size, channels=CHANNELS)
    torch.save(rosinality(generator, discriminator), folder / "550000.pt")
    # narrow: their widths are read from the files
    torch.save({"model": ResNet(depth=50, width=4, outputs=40).state_dict()}, folder / "celeba_resnet50.pth")
    features = VGG19Features(width=4).state_dict()
    torch.save(features, folder / "vgg19.pth")
    torch.save(EmotionNet().state_dict(), folder / EMOTION)
    arguments = {"depth": 18, "width": 4, "outputs": 16}
    save_network(folder / "identity.safetensors", ResNet(**arguments), arguments, {"trained": False})


def lapa(folder: Path, counts: dict[str, int]) -> None:
    """Rendered portraits as LaPa keeps its photos: images/*.jpg beside landmarks/*.txt."""
    total = sum(counts.values())
    images, landmarks = render_latents(sample(total, 5), 128, workers=1, progress=False)
    order = iter(range(total))
    for split, count in counts.items():
        for kind in ("images", "landmarks"):
            (folder / split / kind).mkdir(parents=True)
        for i in [next(order) for _ in range(count)]:
            Image.fromarray(images[i]).save(folder / split / "images" / f"{i}.jpg")
            points = "\n".join(f"{x:.3f} {y:.3f}" for x, y in landmarks[i] * 128 - 0.5)
            (folder / split / "landmarks" / f"{i}.txt").write_text(f"106\n{points}\n")


def celeba(folder: Path, counts: tuple[int, int, int]) -> None:
    """Noise as CelebA's aligned pictures with its text files; counts of train, validation and test."""
    rng = np.random.default_rng(6)
    for name in ("Anno", "Eval", "Img/img_align_celeba"):
        (folder / name).mkdir(parents=True)
    names = [f"{i:06d}.jpg" for i in range(1, sum(counts) + 1)]
    rows, parts = [], []
    for name, split in zip(names, np.repeat([0, 1, 2], counts), strict=True):
        tiles = rng.integers(0, 256, (4, 3, 3), dtype=np.uint8)
        Image.fromarray(tiles).resize((178, 218)).save(folder / "Img" / "img_align_celeba" / name)
        rows.append(f"{name} " + " ".join(map(str, rng.choice([-1, 1], len(ATTRIBUTES)))))
        parts.append(f"{name} {split}")
    text = "\n".join([str(len(names)), " ".join(ATTRIBUTES), *rows])
    (folder / "Anno" / "list_attr_celeba.txt").write_text(text + "\n")
    (folder / "Eval" / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")


def make_files(profile: Profile) -> None:
    """Everything that a person would have fetched for `profile`, in place of what is there."""
    folder = profile.paths.world
    shutil.rmtree(folder, ignore_errors=True)
    official_files(profile.root / profile.world.official, profile.world.size)
    lapa(profile.root / profile.world.landmark_folder, {"train": 16, "val": 4, "test": 2})
    celeba(profile.root / profile.world.celeba, (24, 8, 4))


if __name__ == "__main__":
    profile = load_profile("smoke-ffhq")
    make_files(profile)
    print(f"wrote random files of the official formats to {profile.paths.world}")
