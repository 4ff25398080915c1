"""Files and text: atomic writes, safetensors files, text that is safe for a terminal."""
