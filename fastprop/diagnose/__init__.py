"""See what a network does: checks of its gradients, where they vanish, which learning rate, a step in the open."""
