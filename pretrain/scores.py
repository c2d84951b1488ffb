"""What the gates measure, on arrays."""

import numpy as np
from scipy.stats import rankdata

from pretrain.reading import PIXELS


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve from ranks (ties count half); NaN without both classes. [N], [N] bool."""
    count = int(positive.sum())
    rest = len(positive) - count
    if count == 0 or rest == 0:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - count * (count + 1) / 2) / (count * rest))


def attribute_aucs(scores: np.ndarray, labels: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """AUC of each attribute where the label is visible. [N, 40] three times -> [40]."""
    return np.array([auc(scores[v, k], labels[v, k]) for k, v in enumerate(visible.T)])


def balanced_accuracy(read: np.ndarray, true: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean recall of the dominant emotion, and the recall of each. [N, 7] twice, any scale."""
    found, truth = read.argmax(axis=1), true.argmax(axis=1)
    recall = np.array(
        [(found[truth == k] == k).mean() if (truth == k).any() else np.nan for k in range(true.shape[1])]
    )
    return float(np.nanmean(recall)), recall


def landmark_errors(read: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Distance of each landmark in px at 128. [N, 106, 2] twice -> [N, 106]."""
    return np.linalg.norm(read - true, axis=2) * PIXELS


def determination(read: np.ndarray, true: np.ndarray) -> np.ndarray:
    """R^2 of each column. [N, K] twice -> [K]."""
    return 1 - ((read - true) ** 2).mean(axis=0) / true.var(axis=0)
