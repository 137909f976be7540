"""Adapters: trained low-rank updates of a model's weights, as edits.

    values      recipes, and which adapters are on where: rows of a table. No torch
    items       which prompts are for training and which are held out. No torch
    training    one adapter, trained on a copy of the base
    artifacts   trained adapters, kept in the user's cache by what they are made of
    updates     what an adapter adds to the weights: norms, truncation, merges, random ones like it
    measuring   the effects of a list of such rows on a draw of prompts
"""
