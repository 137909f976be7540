"""The audit of raw results: `python -m harness.audit DIR`, where DIR is a copy of the atlas's own repository.

Every figure that a claim rests on is recomputed from the result files, and compared with the number as it was
printed. The file and the keys of each are stated; a file or a key that is not there is said to be missing, and
never replaced by a guess. Nothing in a file is trusted, and nothing is run or imported from it. No torch.

    files.py      reads a folder that may hold anything
    layouts.py    the shapes that the atlas's scripts write
    figures.py    what a figure is, and what becomes of one; ablations.py and training.py list them
"""
