"""The extension inside a WebUI. The only place that imports gradio, modules, modules_forge or launch."""
