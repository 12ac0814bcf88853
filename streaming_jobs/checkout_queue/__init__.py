"""Tells when shoppers wait too long at the checkouts, or too few lanes are open for those who are coming."""
