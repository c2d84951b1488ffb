import io
import json

import numpy as np
import pytest
from PIL import Image

from hfld.photos.synthetic import RECIPE_KEY, synthetic_png


@pytest.mark.parametrize(
    ("kind", "source"),
    [("generated", "/trainedAlgorithmicMedia"), ("composite", "/compositeWithTrainedAlgorithmicMedia")],
)
def test_saved_pictures_are_marked_as_synthetic(kind, source):
    picture = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    recipe = {"attribute": "Bangs", "target": 1.0}
    with Image.open(io.BytesIO(synthetic_png(picture, recipe, kind=kind))) as saved:
        assert np.array_equal(np.asarray(saved), picture)
        assert saved.text["Comment"].startswith("synthetic: ")
        assert f'{source}"' in saved.text["XML:com.adobe.xmp"]
        assert json.loads(saved.text[RECIPE_KEY]) == recipe
