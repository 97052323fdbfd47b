"""The page: the only files besides app.py that import gradio."""
