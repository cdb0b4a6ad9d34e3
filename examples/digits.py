"""Handwritten digits: train, watch the validation set, look at what was missed, save and load.

Run it with `python examples/digits.py`; it takes some seconds and prints the test accuracy.
"""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastprop as fp


def main() -> float:
    """Train on three quarters of the digits; returns the accuracy on the rest."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

    net = fp.Network(
        [fp.Dense(128, activation="relu"), fp.Dropout(0.2), fp.Dense(10)],
        loss="cross_entropy",
        optimizer=fp.Adam(lr=fp.schedules.Cosine(2e-3, steps=40 * 38)),
    )
    history = net.fit(X_train, y_train, epochs=40, batch_size=32, validation_fraction=0.1, early_stopping=10)
    print(net.summary())
    print(f"stopped after {len(history['loss'])} epochs, validation accuracy {max(history['val_accuracy']):.3f}")

    probabilities = net.predict_proba(X_test)
    missed = np.flatnonzero(probabilities.argmax(axis=1) != y_test)
    for i in missed[:3]:
        print(f"a {y_test[i]} taken for a {probabilities[i].argmax()} with probability {probabilities[i].max():.2f}")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.safetensors"
        net.save(path)
        again = fp.load(path)
    assert np.array_equal(again.predict(X_test), net.predict(X_test))

    accuracy = net.evaluate(X_test, y_test)["accuracy"]
    print(f"test accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
