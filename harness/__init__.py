"""The instrument: models, edits, the sweep engine, experiments, statistics, evidence, verdicts, report."""
