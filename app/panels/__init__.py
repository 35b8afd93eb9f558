"""Pieces that pages share, drawn with Streamlit."""
