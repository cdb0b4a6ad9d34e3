r"""
Reaction rates from molecular descriptors
=========================================

Exercise 24 in the documentation's table, of the second introduction: design a network that predicts how fast molecules
react. The design questions are answered one by one, on a simulated chemistry whose law is known (Arrhenius), and the
most important answer is one that the exercise does not ask for: *which rows are held out* decides what the measured
error means.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold, KFold

import fastprop as fp

# %%
# a) Input features
# -----------------
# Seven descriptors of a molecule, and the temperature at which it was measured:
#
# * energy of the bond that breaks (kJ/mol), the main part of the barrier;
# * energies of the highest occupied and the lowest unoccupied orbital (eV): how easily electrons are given and taken;
# * partial charge of the atom that is attacked, and dipole moment (debye);
# * buried volume around that atom (%): bulky groups bar the way, and make collisions in the right direction rarer;
# * molar mass (g/mol): heavy molecules collide more rarely;
# * the temperature T enters as 1000/T, since Arrhenius' law is a straight line in it.
#
# The simulated truth is Arrhenius' law :math:`k = A e^{-E / RT}`, k and A in L/(mol s) as two molecules have to meet,
# with a barrier E by Marcus, :math:`E = \frac{\lambda}{4} (1 + \Delta G / \lambda)^2`, and a penalty for bulk above 40
# %. Each molecule has also a part of its barrier, 3 kJ/mol (one standard deviation), **that no descriptor tells**: real
# molecules have that. 200 molecules were measured at 10 temperatures each, with errors of 0.1 decades.

GAS_CONSTANT = 8.314e-3  # kJ/(mol K)


def molecules(n, rng):
    """Descriptors (n, 7): bond, homo, lumo, charge, bulk, mass, dipole."""
    homo, bulk = rng.normal(-9, 0.7, n), rng.uniform(15, 60, n)
    lumo, mass = homo + rng.normal(8.5, 0.8, n), 60 + 3 * bulk + rng.gamma(2, 20, n)
    return np.column_stack(
        [rng.normal(380, 25, n), homo, lumo, rng.normal(0.1, 0.1, n), bulk, mass, rng.gamma(3, 0.7, n)]
    )


def log_rate(descriptors, T, own_barrier):
    """The decadic logarithm of the rate constant in L/(mol s)."""
    bond, _, lumo, charge, bulk, mass, dipole = descriptors.T
    drive = 0.6 * (bond - 380) - 25 * charge * dipole + 6 * (lumo + 0.5)
    barrier = 300 / 4 * (1 + drive / 300) ** 2 + 0.8 * np.maximum(bulk - 40, 0) + own_barrier
    log_a = 11.5 - 0.02 * bulk - 0.5 * np.log10(mass / 100)
    return log_a - barrier / (GAS_CONSTANT * T * np.log(10))


rng = np.random.default_rng(0)
descriptors, own_barrier = molecules(200, rng), rng.normal(0, 3, 200)
molecule = np.repeat(np.arange(200), 10)
T = rng.uniform(300, 450, molecule.size)
X = np.column_stack([descriptors[molecule], 1000 / T])
y = log_rate(descriptors[molecule], T, own_barrier[molecule]) + rng.normal(0, 0.1, molecule.size)
untold = np.std(own_barrier[molecule] / (GAS_CONSTANT * T * np.log(10)))
floor = np.hypot(untold, 0.1)
print(f"rates from 1e{y.min():.0f} to 1e{y.max():.0f} L/(mol s); least error for a new molecule {floor:.2f} decades")

# %%
# b) Architecture, c) loss
# ------------------------
# Eight scaled inputs, two hidden layers of 64 tanh units, one linear output: the law is smooth and bends gently. The
# width hardly matters: 16, 32 and 128 units gave errors within 2 % of each other on unseen molecules (measured once,
# not by this script).
#
# The target is the **logarithm** of the rate, with mean squared error. Rates span more than twelve decades: squared
# errors of the rate itself count the few fastest reactions and nothing else, and the network may answer with negative
# rates. In the logarithm the error is a factor, the measurement error is the same everywhere, and the law is nearly
# linear.


def fit(X, y, l2=0.0, epochs=60):
    """Train on scaled inputs and target; returns a function that predicts in the units of y."""
    layers = [fp.Dense(64, activation="tanh"), fp.Dense(64, activation="tanh"), fp.Dense(1)]
    net = fp.Network(layers, loss="mse", optimizer=fp.Adam(lr=5e-3), l2=l2)
    mean, sd, y_mean, y_sd = X.mean(axis=0), X.std(axis=0), y.mean(), y.std()
    net.fit((X - mean) / sd, (y - y_mean) / y_sd, epochs=epochs, batch_size=64)
    return lambda X_new: net.predict((X_new - mean) / sd) * y_sd + y_mean


train, test = molecule < 160, molecule >= 160
rate = fit(X[train], 10 ** y[train], l2=1e-2)(X[test])
log = fit(X[train], y[train], l2=1e-2)(X[test])
print(f"trained on rates: {100 * (rate <= 0).mean():.0f} % of the predictions are negative")
print(f"trained on logarithms: half of the predictions within a factor of {10 ** np.median(abs(log - y[test])):.1f}")

# %%
# d) Backpropagation
# ------------------
# Forward, :math:`a_1 = \tanh(x W_1 + b_1)`, :math:`a_2 = \tanh(a_1 W_2 + b_2)`, :math:`\hat y = a_2 W_3 + b_3`. The
# error signal starts with :math:`\delta_3 = \frac{2}{n} (\hat y - y)`: a prediction that is a decade too slow pulls ten
# times as hard as one that is 0.1 decades too slow, whatever the rate. It goes back as
# :math:`\delta_l = \delta_{l+1} W_{l+1}^T \circ (1 - a_l^2)`, and each layer learns from
# :math:`\partial L / \partial W_l = a_{l-1}^T \delta_l`, to which `l2` adds :math:`\lambda W_l`. Adam takes the steps.
# The hidden units can come to stand for what no input is, such as the bond's energy over the temperature.
#
# e) Challenges: what is held out
# -------------------------------
# Rows are not independent: each molecule has ten. If rows are split at random, the test rows' molecules are in the
# training rows, too; the network can learn them by heart, the part of the barrier included that no descriptor tells, by
# their descriptors as by a name. So measured, it looks four times as good as it is for molecules never seen.
# The honest question holds out whole molecules (`GroupKFold`).

splits = {
    "random rows": list(KFold(5, shuffle=True, random_state=0).split(X)),
    "unseen molecules": list(GroupKFold(5).split(X, groups=molecule)),
}


def error(split, fit):
    """Root mean squared error in decades, and the predictions, of rows that were held out."""
    predicted = np.empty_like(y)
    for train, test in splits[split]:
        predicted[test] = fit(X[train], y[train])(X[test])
    return np.sqrt(np.mean((predicted - y) ** 2)), predicted


penalties = [0, 1e-3, 3e-3, 1e-2, 3e-2]
errors, held_out = {}, {}
for split in splits:
    for l2 in penalties:
        errors[split, l2], held_out[split, l2] = error(split, lambda X, y, l2=l2: fit(X, y, l2))
    linear, _ = error(split, lambda X, y: LinearRegression().fit(X, y).predict)
    best = min(penalties, key=lambda l2: errors[split, l2])
    print(f"{split}, decades: l2 = 0 {errors[split, 0]:.2f}, l2 = {best} (best) {errors[split, best]:.2f}, ", end="")
    print(f"linear regression {linear:.2f}")

# %%
# Random rows would have chosen no penalty at all, and promised an error below what is possible for a new molecule. On
# unseen molecules that very network is **worse than linear regression**; with `l2` = 0.01 it is better, and not far
# from the floor. The split does not only change the number that is reported, it changes what is chosen.
#
# Other challenges, and what was found here (the numbers of this list were measured once, not by this script):
#
# * *Few molecules.* 160 in training, not 1,600: that is the size of the data for all that depends on the molecule.
# * *Dropout* helps less than `l2`: 0.60 decades at best (0.2; tried 0.1, 0.2 and 0.3).
# * *Other temperatures.* Trained below 400 K, known molecules were predicted above with an error of 0.26 decades (no
#   penalty) and 0.40 (`l2` = 0.01, the one that unseen molecules like best): each use has a hold-out of its own. That
#   the temperature enters as 1/T helped linear regression there (0.60 in place of 0.73), but the network hardly
#   (0.26 in place of 0.28).
# * *Scales.* Without scaling of the inputs the bond energy, about 380, would saturate every tanh.
# * *Trust.* None of this extrapolates to other kinds of molecules; compare descriptors before believing a prediction.

# %%
fig, (dots, lines) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
dots.plot(y, held_out["unseen molecules", 0], ".", ms=3, alpha=0.5, color="#D55E00", label="no penalty")
dots.plot(y, held_out["unseen molecules", 1e-2], ".", ms=3, alpha=0.5, color="#0072B2", label="l2 = 0.01")
dots.axline((0, 0), slope=1, color="k", lw=1, ls="--")
dots.set(xlabel="log10 k, measured", ylabel="log10 k, predicted", title="Unseen molecules, k in L/(mol s)")
dots.legend(frameon=False, markerscale=4)
places = range(len(penalties))
for split, colour in (("unseen molecules", "#0072B2"), ("random rows", "#CC79A7")):
    lines.plot(places, [errors[split, l2] for l2 in penalties], "o-", color=colour, label=f"network, {split}")
lines.axhline(linear, color="0.5", lw=1, label="linear regression, unseen molecules")
lines.axhline(floor, color="k", lw=1, ls="--", label="what a new molecule allows")
lines.set(xticks=places, xticklabels=penalties, xlabel="l2", ylabel="error (decades)", ylim=(0, 1.1))
lines.set_title("The split chooses the penalty")
lines.legend(frameon=False, fontsize=9, loc="upper right")
for ax in (dots, lines):
    ax.spines[["top", "right"]].set_visible(False)
plt.savefig("reaction_rates.png", dpi=100)
