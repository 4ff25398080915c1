"""The configurations, shipped as polystyle.configs so that commands find them wherever they run."""
