"""A small text classifier that extends judgements to captions nobody has judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class CaptionClassifier:
    """Words and pairs of neighbouring words (TF-IDF) under a logistic regression; a ridge regression for the value.

    Fitting it to the 15,133 captions of the packaged record takes about half a second. Words do better here than
    character n-grams: what a caption means stands in its sentence, letters mostly tell item names apart.
    """

    def fit(
        self,
        captions: Sequence[str] | np.ndarray,
        helpful: Sequence[float] | np.ndarray,
        value: Sequence[float] | np.ndarray,
    ) -> CaptionClassifier:
        """Learns from judged captions; `helpful` counts as 1 from 0.5 on."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression, Ridge
        from threadpoolctl import threadpool_limits

        target = np.asarray(helpful) >= 0.5
        self._range = float(np.min(value)), float(np.max(value))
        self._constant = bool(target[0]) if target.all() or not target.any() else None
        self._words = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True)
        features = self._words.fit_transform(captions)
        with threadpool_limits(1):  # many threads only wait for each other here, and take the cores from the games
            self._value = Ridge(solver="lsqr").fit(features, value)
            if self._constant is None:
                self._helpful = LogisticRegression(C=30, solver="liblinear", class_weight="balanced").fit(
                    features, target
                )
        return self

    def predict(self, captions: Sequence[str] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each caption: helpful (0 or 1), and its value rounded to a whole number inside the fitted range."""
        features = self._words.transform(captions)
        value = np.clip(np.round(self._value.predict(features)), *self._range)
        if self._constant is None:
            return self._helpful.predict(features).astype(float), value
        return np.full(len(captions), float(self._constant)), value
