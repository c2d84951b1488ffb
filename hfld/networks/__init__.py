"""The networks, by the name that a checkpoint's header gives them."""

import importlib

from torch import nn

from hfld.attributes import index_of

NETWORKS = {
    "Generator": "hfld.networks.stylegan2",
    "Discriminator": "hfld.networks.stylegan2",
    "ResNet": "hfld.networks.resnet",
    "VGG19Features": "hfld.networks.vgg",
    "EmotionNet": "hfld.networks.emotion",
    "DeepFaceIdentity": "hfld.networks.deepface",
    "Reader": "hfld.networks.reader",
    "MobileStyleGAN": "hfld.networks.mobile_stylegan",
    "Graph": "hfld.networks.graph",
    "FaceApiDense": "hfld.networks.face_api",
    "FaceApiXception": "hfld.networks.face_api",
    "FaceApiIdentity": "hfld.networks.face_api",
}
"""Class name -> module. Only these can be named by a checkpoint."""


def network_class(name: str) -> type[nn.Module]:
    """The class behind a registered name; ValueError names the nearest one."""
    index_of(name, NETWORKS, "network")
    return getattr(importlib.import_module(NETWORKS[name]), name)
