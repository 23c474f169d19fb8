"""Views: plain values in, HTML fragments out. Knows neither Gradio nor the hub."""
