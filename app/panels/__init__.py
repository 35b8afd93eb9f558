"""The pieces that pages consist of, drawn with Streamlit."""
