"""What two apps share of learning: purged splits, labelling rules, baselines will live here."""
