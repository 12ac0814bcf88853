"""Tells when power or water is used out of hours or far more than usual, a meter counts anew, a screen is off."""
