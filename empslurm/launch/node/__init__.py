"""What runs on a node: one element of an array, its train processes, their GPUs, and the time and energy they use."""
