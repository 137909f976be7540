"""Error rates: every chapter's verdict on random planted models whose truth is known.

    pool         the suite's prompts, many per template: the population a claim is about
    closed_form  effects of a planted model on those prompts, in numpy
    truth        how far the population lies on a criterion's side of its threshold
    cards        the claim cards' own criteria, moved to the planted block or head
    models       random planted models, their strength tuned to a wanted distance from the threshold
    chapters     which models are judged by which cards, and how many of each
    trials       one model, judged on prompts it was not tuned on
    identities, mechanisms, nulls   trials of other sorts
    population   tables of effects with known means, templates drawn anew
    asked, tables_of_blocks, tables_of_mechanism, tables_of_positions, tables_of_steering, tables_of_adapters,
    tables_of_training, tables_of_donors, tables_of_sets
                 such tables, as true as asked of one card
    table_truth, truth_of_adapters, truth_of_mechanism, table_means, table_cases
                 the truth about a card in such a table, and their trials
    cases        all of them
    stamps       what a trial is made with
    origins      with which commit and stamp the trials of each case were made, and what is newer
    recheck      some of them made anew where cards or code are newer
    run          all trials, kept as they are made
    rates        shares with Clopper-Pearson intervals
    report, figure   RESULTS.md and power.svg
    power        what CLAIMS.md says of a card: from how far on it sees

`python -m harness.calibration` runs it. Importing this package imports neither torch nor numpy.
"""
