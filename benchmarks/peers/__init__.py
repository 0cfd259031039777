"""The engines that users would otherwise pick."""
