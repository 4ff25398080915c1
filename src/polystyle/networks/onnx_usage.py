"""How an exported ONNX file is used. Imports no torch: polystyle-export shows it as its help."""

USAGE = """\
inputs:
  content    float32 [batch, 3, height, width]: RGB in [0, 1], both sides at least 16 pixels
  style_mix  float32 [batch, styles]: the weight of each style, in the order of style_names;
             a single 1 paints one style, weights that sum to 1 blend several
output:
  stylized   float32 [batch, 3, height, width]: RGB in [0, 1], the same size as content"""
