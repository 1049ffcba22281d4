"""How fast are we, beside a rival or the physical limit measured in the same run?

Every bench interleaves ours with its yardstick, takes medians and tells ratios: this machine's noise hits both alike.
"""
