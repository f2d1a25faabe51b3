"""Measurements of this machine: i2i with its default settings beside the same work done plainly.

Every command prints, and writes with `--json`, one dictionary:

    command     train, data, translate or scale
    machine     see `machine.facts`
    settings    of the work, as the command was given them
    rows        see `report.row`: times, rate, memory and shares of each contender
    ratios      see `report.ratio`: contenders against each other
    prediction  of `scale` only, see `scale.predict`
"""
