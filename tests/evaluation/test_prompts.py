import numpy as np

from pipeline.evaluation.prompts import class_vectors


def test_a_class_is_the_mean_of_its_unit_prompts_brought_to_unit_length() -> None:
    texts = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=np.float32)
    found = class_vectors(texts, np.array([0, 0, 1]))
    np.testing.assert_allclose(found, [[np.sqrt(0.5), np.sqrt(0.5)], [0.0, -1.0]], atol=1e-7)
    assert found.dtype == np.float32
