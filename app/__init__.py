"""The Streamlit app: reads runs, draws, takes decisions. No maths here."""
