"""Streamlit building blocks: no database, no torch."""
