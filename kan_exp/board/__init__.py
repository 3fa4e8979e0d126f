"""What TensorBoard is told of a run beside its curves, and how it is started; without torch."""
