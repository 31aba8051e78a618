"""The frozen backbone, the adapters in it and the heads on it, with their files and kernels; no training loop."""
