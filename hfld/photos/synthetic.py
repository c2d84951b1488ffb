"""PNG files that say of themselves that a model made them, for people and for programs."""

import io
import json
from typing import Any, Literal

import numpy as np
from PIL import Image, PngImagePlugin

RECIPE_KEY = "hfld-recipe"
"""Of the text in a PNG's metadata that says how it was made, as JSON."""

MARKS = {
    "generated": "synthetic: this face was made by a generative model; it shows no real person",
    "composite": "synthetic: the face in this photo was changed by a generative model",
}
IPTC_SOURCES = {"generated": "trainedAlgorithmicMedia", "composite": "compositeWithTrainedAlgorithmicMedia"}
"""Terms of https://cv.iptc.org/newscodes/digitalsourcetype."""


def synthetic_png(
    picture: np.ndarray,  # uint8 [H, W, 3]
    recipe: dict[str, Any] | None = None,
    *,
    kind: Literal["generated", "composite"],  # the whole picture, or a face in a photo
) -> bytes:
    """A PNG whose metadata say that it is synthetic, and how to make it again."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Comment", MARKS[kind])
    info.add_itxt("XML:com.adobe.xmp", xmp(kind))
    if recipe is not None:
        info.add_itxt(RECIPE_KEY, json.dumps(recipe, ensure_ascii=False))
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png", pnginfo=info)
    return buffer.getvalue()


def xmp(kind: Literal["generated", "composite"]) -> str:
    """IPTC's statement of how a picture was made, as picture programs read it."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/{IPTC_SOURCES[kind]}"/>'
        "</rdf:RDF></x:xmpmeta>"
    )
