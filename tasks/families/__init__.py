"""The task families, one module each; every module exposes FAMILY."""
