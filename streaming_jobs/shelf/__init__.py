"""Tells when a facing is empty or low, or a product does not sell though there is stock on the books."""
