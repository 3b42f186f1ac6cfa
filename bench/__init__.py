"""Measures speed and growth. Figures that differ from machine to machine are given as ratios within one run."""
