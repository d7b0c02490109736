"""Prompts, judges and metrics of the safety test."""
