"""serveplan: plans how to serve AI models. The public door; import everything a user needs from here."""

__version__ = "0.1.0"
