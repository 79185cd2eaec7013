"""Linear probes of features: which labels they see, and what they read."""

import numpy as np

from diffusevae.studies.priors.probes import choose_labelled, measure_probes


def test_labels_are_shared_out_among_the_classes():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 0])
    assert sorted(labels[choose_labelled(labels, 3)]) == [0, 1, 2]
    assert sorted(labels[choose_labelled(labels, 6)]) == [0, 0, 0, 1, 1, 2]


def test_what_is_linear_is_read_and_what_is_not_there_is_not():
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 2
    clear = rng.normal(size=(300, 5)) * 0.1 + labels[:, None]
    noise = rng.normal(size=(300, 5))
    for features, low, high in ((clear, 0.99, 1.0), (noise, 0.3, 0.7)):
        known, unseen = (features[:200], labels[:200]), (features[200:], labels[200:])
        rows = measure_probes(known, unseen, (10, 100), 0, 50)
        assert [row["num_labels"] for row in rows] == [10, 100]
        assert all(low <= row["accuracy"] <= high for row in rows)
        assert all(row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] for row in rows)


def test_without_classes_there_is_nothing_to_read():
    same = (np.zeros((8, 2)), np.zeros(8))
    assert measure_probes(same, same, (4,), 0, 10) == []
