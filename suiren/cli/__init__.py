"""The command `suiren`: `train`, `predict` and `info`.

The top layer: it uses the public interface (`import suiren as torch`) and nothing uses it.
One module per subcommand, and beside them the pieces they share.
"""
