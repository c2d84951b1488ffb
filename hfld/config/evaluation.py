"""Settings of tables and figures. The attributes are the paper's."""

from dataclasses import dataclass

from hfld.config.reading import AttributeNames


@dataclass(frozen=True)
class TablesConfig:
    """Evaluation of the edits (03_tables)."""

    latents: int = 1000  # test latents per attribute
    validation_latents: int = 200  # disjoint latents: matching of strengths and ranking of attributes
    attributes: AttributeNames = ("Male", "Bald", "Black_Hair")
    survey_latents: int = 100  # validation latents of the survey over all 40 attributes
    report_above: float = 0.5  # an attribute is reported if the oracle edit moves the judge by more than this
    curve_latents: int = 100  # test latents of the curves over strength
    bootstrap: int = 2000  # resamples of every interval
    seed: int = 1


@dataclass(frozen=True)
class FiguresConfig:
    """Pictures (04_figures)."""

    faces: int = 8  # in Figure 3, and behind the maps of change
    choice: int = 8  # test latents, of which Figures 1 and 4 show those that G draws best, blurry ones last
    attributes: AttributeNames = ("Male", "Bald", "Black_Hair")  # of Figure 4, each on a face of its own
    steps: int = 7  # pictures along one edit
    seed: int = 1


@dataclass(frozen=True)
class BenchmarkConfig:
    """All editors in one table (more/benchmark)."""

    methods: tuple[str, ...] = (  # of hfld.editors.EDITORS; ..._lock: inside an ExpressionLock
        "baseline",
        "hfld",
        "ganspace",
        "interfacegan",
        "sefa",
        "styleflow",
        "sdflow",
        "adatrans",
        "sdflow_hfld",
        "adatrans_hfld",
        "ganspace_lock",
        "interfacegan_lock",
        "sefa_lock",
        "styleflow_lock",
        "baseline_lock",
        "random",
    )
    attributes: AttributeNames = ("Male", "Bald", "Black_Hair")  # each must be one of the directions'
    latents: int = 500  # test latents per attribute
    validation_latents: int = 100  # disjoint latents: matching of strengths
    curve_latents: int = 100  # test latents of the curves over strength
    curve_factors: tuple[float, ...] = (0.5, 1.0, 2.0)  # of the strength, for these curves
    lock_steps: int = 3  # of the locks (hfld/editors/lock.py)
    faces: int = 6  # columns of Figures 5 and 6
    bootstrap: int = 2000
    seed: int = 1
