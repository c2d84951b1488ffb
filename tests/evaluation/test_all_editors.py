"""The benchmark on the toy world, where every edit's effect is known."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import toy_editors
import toy_evaluator
from toy_world import ROWS, W_DIM

from hfld.attributes import REGIONS
from hfld.config import load_profile
from hfld.directions import Directions
from hfld.editors import AdaTrans, ExpressionLock, directions_file, editor_file
from hfld.evaluation.all_editors import (
    LatentDensity,
    Measures,
    add_times,
    check_linear,
    comparisons,
    editors_of,
    perceptual_distance,
    provenance,
    time_edits,
)
from hfld.evaluation.evaluator import curves, evaluate
from hfld.networks.reader import Reader
from hfld.networks.resized import resized
from hfld.networks.resnet import ResNet
from hfld.report.benchmark import CURVES
from hfld.report.tabular import Cells

ATTRIBUTES = ("Attractive", "Bald")


@pytest.fixture(scope="module")
def evaluator():
    return toy_evaluator.toy_evaluator()


@pytest.fixture(scope="module")
def measures(evaluator):
    torch.manual_seed(0)
    return Measures(
        ResNet(width=2, outputs=40, stem="small").eval(), LatentDensity.of(evaluator.models, count=500)
    )


@pytest.fixture(scope="module")
def test_latents(evaluator):
    return evaluator.latents(24, seed=1, split="test")


@pytest.fixture(scope="module")
def editors(evaluator):
    named = toy_evaluator.toy_editors()
    named["baseline_lock"] = ExpressionLock(named["baseline"], evaluator.models)
    return named


@pytest.fixture(scope="module")
def results(evaluator, test_latents, editors, measures):
    validation = evaluator.latents(16, seed=1, split="validation", judged=False)
    return evaluate(
        evaluator,
        test_latents,
        editors,
        ATTRIBUTES,
        validation=validation,
        comparisons=comparisons(editors),
        measure=measures.read,
        resamples=100,
    )


def test_comparisons_pair_the_landmark_term_with_the_method_without_it():
    methods = ("baseline", "hfld", "sdflow", "sdflow_hfld", "sefa_lock", "sefa", "random")
    found = comparisons(methods)
    assert found["sdflow_hfld - sdflow"] == ("sdflow", "sdflow_hfld")
    assert found["sefa_lock - sefa"] == ("sefa", "sefa_lock")
    assert found["hfld - random"] == ("random", "hfld")
    assert "hfld - baseline" not in found  # `difference`, as in every table
    assert "hfld - hfld" not in found
    assert comparisons(("sefa_lock", "random")) == {}


def test_editors_are_made_with_their_locks(evaluator, tmp_path):
    T = torch.randn(3, ROWS, W_DIM, generator=torch.Generator().manual_seed(0))
    Directions(T, toy_editors.NAMES, "baseline").save(directions_file(tmp_path, "baseline"))
    toy_editors.fitted(AdaTrans).save(editor_file(tmp_path, "adatrans"))
    config = load_profile("smoke").benchmark
    config = replace(config, methods=("baseline", "adatrans_lock", "random"), lock_steps=2)
    found = editors_of(config, weights=tmp_path, models=evaluator.models)
    assert list(found) == list(config.methods)
    lock = found["adatrans_lock"]
    assert isinstance(lock, ExpressionLock)
    assert lock.steps == 2
    assert isinstance(lock.editor, AdaTrans)
    ws = evaluator.models.ws(evaluator.models.latents(2, seed=0, split="test"))
    assert lock.edit(ws, "Attractive", 1.0).shape == ws.shape  # connected to the models


def test_the_numbers_name_the_weights_and_versions_behind_them(evaluator, tmp_path):
    names = ("world/judge_emotion", "weights/directions_baseline", "weights/editor_sefa", "weights/editor_x")
    for name in names:
        path = tmp_path / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    known = replace(evaluator, models=replace(evaluator.models, hashes={"generator": "f00"}))
    folders = {"world": tmp_path / "world", "weights": tmp_path / "weights"}
    found = provenance(known, ("sefa", "sefa_lock", "random", "none"), **folders)
    files = ["judge_emotion", "editor_sefa", "directions_baseline"]  # X was not compared
    assert list(found["sha256"]) == ["generator", *files]
    assert found["sha256"]["generator"] == "f00"
    expected = hashlib.sha256(b"weights/editor_sefa").hexdigest()
    assert found["sha256"]["editor_sefa"] == expected
    assert set(found["versions"]) == {"hfld", "torch", "numpy", "python"}
    assert torch.__version__.startswith(found["versions"]["torch"])
    assert json.loads(json.dumps(found)) == found


def test_the_matrices_are_checked_as_fitted_editors_are(evaluator, tmp_path):
    names = ("Attractive", "Bald", "Bangs")
    profile = load_profile("smoke")
    profile = replace(profile, root=tmp_path, tables=replace(profile.tables, attributes=names))
    for method, gain in (("baseline", 6.0), ("hfld", 0.01)):
        T = torch.zeros(3, ROWS, W_DIM)
        T[0, :, 2] = T[1, :, 4] = gain  # that of Bangs is zero
        Directions(T, names, method).save(directions_file(profile.paths.weights, method))
    found = check_linear(evaluator, profile)
    assert list(found) == ["baseline", "hfld"]
    assert found["baseline"]["moves"] == ["Attractive", "Bald"]
    assert list(found["baseline"]["failing"]) == ["Bangs"]
    assert found["hfld"]["moves"] == []
    assert all(reason for reason in found["hfld"]["failing"].values())
    assert found["baseline"]["targets"][1]["native"] > 0.3
    assert json.loads(json.dumps(found)) == found


def test_every_method_is_in_the_rows_with_the_benchmarks_quantities(results, editors):
    cells = Cells(results[0])
    for method in (*editors, "none", "oracle"):
        for quantity in ("perceptual_distance", "latent_log_likelihood", "landmark_nme:mouth"):
            assert cells("matched", "Bald", method, quantity).known, (method, quantity)
    assert cells("matched", "Bald", "floor", "perceptual_distance").known
    assert not cells("matched", "Bald", "floor", "latent_log_likelihood").known  # a picture without a latent


def test_no_edit_is_at_no_distance_and_keeps_its_likelihood(results, evaluator, test_latents, measures):
    cells = Cells(results[0])
    none = cells("native", "Bald", "none", "perceptual_distance")
    assert (none.value, none.lo, none.hi) == (0, 0, 0)
    assert cells("native", "Bald", "baseline", "perceptual_distance").value > 0
    own = measures.density.log_likelihood(test_latents.ws).mean()
    assert cells("native", "Bald", "none", "latent_log_likelihood").value == pytest.approx(own)
    assert cells("native", "Bald", "baseline", "latent_log_likelihood").value < own


def test_regional_errors_average_to_the_whole(results):
    cells = Cells(results[0])
    for method in ("baseline", "oracle"):
        parts = [cells("native", "Bald", method, f"landmark_nme:{name}").value for name in REGIONS]
        sizes = [len(points) for points in REGIONS.values()]
        whole = cells("native", "Bald", method, "landmark_nme").value
        assert np.average(parts, weights=sizes) == pytest.approx(whole)
    # Only the mouth moves in this world.
    assert cells("native", "Bald", "baseline", "landmark_nme:mouth").value > 0
    assert cells("native", "Bald", "baseline", "landmark_nme:nose").value == pytest.approx(0, abs=1e-4)


def test_comparisons_are_paired_and_corrected_as_one_family(results):
    rows = results[0]
    cells = Cells(rows)
    pair = cells("native", "Bald", "baseline_lock - baseline", "emotion_tvd")
    ends = [cells("native", "Bald", m, "emotion_tvd").value for m in ("baseline_lock", "baseline")]
    assert pair.value == pytest.approx(ends[0] - ends[1])
    assert pair.value < 0  # the lock takes back what the drag moves
    assert pair.significant
    tested = rows[rows["p"].notna() & (rows["quantity"] == "emotion_tvd") & (rows["strength"] == "native")]
    assert set(tested["method"]) == {
        "difference",
        *comparisons(toy_evaluator.toy_editors() | {"baseline_lock": 0}),
    }
    assert (tested["p_holm"] >= tested["p"]).all()


def test_density_is_the_gaussian_of_the_codes():
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(4000, 3, generator=generator) * torch.tensor([1.0, 2.0, 0.5]) + 1
    density = LatentDensity(codes, ridge=0)
    ws = torch.randn(5, 2, 3, generator=generator)
    exact = torch.distributions.MultivariateNormal(codes.double().mean(0), torch.cov(codes.double().T))
    expected = exact.log_prob(ws.double()).mean(1) / 3
    np.testing.assert_allclose(density.log_likelihood(ws), expected, rtol=1e-10)
    flat = codes * torch.tensor([1.0, 1.0, 0.0])  # a mapping that leaves a dimension empty
    far = torch.tensor([[[1.0, 1.0, 0.0]], [[1.0, 1.0, 1.0]]])
    inside, outside = LatentDensity(flat).log_likelihood(far)
    assert inside > outside + 10


def test_perceptual_distance_wants_feature_maps():
    with pytest.raises(ValueError, match="network must be convolutional"):
        perceptual_distance(torch.nn.Flatten(), *torch.zeros(2, 1, 3, 4, 4))


@pytest.mark.parametrize(
    "made",  # the classes of the judges
    [lambda: ResNet(width=2, outputs=4, stem="small"), lambda: Reader(size=16, outputs=4, width=2)],
)
def test_perceptual_distance_is_zero_at_equality_and_grows(made):
    torch.manual_seed(0)
    network = made().eval()
    x, y = torch.randn(3, 3, 16, 16), torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(perceptual_distance(network, x, x), torch.zeros(3))
        near, far = (perceptual_distance(network, x, x + step * (y - x)) for step in (0.1, 1.0))
        assert (near > 0).all()
        assert (far > near).all()
        torch.testing.assert_close(perceptual_distance(network, y, x), far)
        same = perceptual_distance(resized(network, 16), x, y)
        torch.testing.assert_close(same, far)
    assert not any(module._forward_hooks for module in network.modules())


def test_times_are_those_of_the_edit(evaluator, test_latents, editors):
    class Slow:
        def edit(self, ws, attribute, strength):
            import time

            time.sleep(0.02 * len(ws))
            return ws

    times = time_edits(evaluator, test_latents, {"slow": Slow(), **editors}, "Bald", batch=2)
    slow = times.set_index("method").loc["slow"]
    assert 20 <= slow["lo"] <= slow["value"] <= slow["hi"]
    assert (times["value"] > 0).all()
    with pytest.raises(ValueError, match="latents must be more than the 3 repeats, not 3"):
        time_edits(evaluator, test_latents[:3], editors, "Bald")


@pytest.fixture(scope="module")
def timed(results):
    times = pd.DataFrame(
        {"method": ["baseline", "hfld"], "value": [2.0, 3.0], "lo": [1.5, 2.5], "hi": 9.0, "n": 3}
    )
    return add_times(results[0], times)


def test_times_stand_in_every_cell(results, timed):
    cells = Cells(timed)
    for strength in ("native", "matched"):
        for attribute in ATTRIBUTES:
            assert cells(strength, attribute, "hfld", "edit_ms")[:4] == (3.0, 2.5, 9.0, 3)
    assert len(timed) == len(results[0]) + 8


def test_curves_have_every_quantity_for_every_method(evaluator, test_latents, editors, measures):
    some = {"factors": (0.5, 1.0), "resamples": 20}
    found = curves(evaluator, test_latents[:8], editors, ("Bald",), measure=measures.read, **some)
    key = ["factor", "method", "quantity"]
    known = found.dropna(subset=["value"]).set_index(key)["value"]
    for quantity in CURVES:
        for method in editors:
            assert (0.5, method, quantity) in known.index, (method, quantity)
            assert (1.0, method, quantity) in known.index, (method, quantity)
    distance = [known[factor, "baseline", "perceptual_distance"] for factor in (0.5, 1.0)]
    assert 0 < distance[0] < distance[1]
    # What the plain curves have too is the same there.
    plain = curves(evaluator, test_latents[:8], editors, ("Bald",), **some).dropna(subset=["factor"])
    both = plain.merge(found, on=key)
    assert len(both) == len(plain)
    pd.testing.assert_series_equal(both["value_x"], both["value_y"], check_names=False)
