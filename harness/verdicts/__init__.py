"""Criteria, and the plain functions that judge them. Import the modules; nothing is imported here."""
