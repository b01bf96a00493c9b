"""Chat models behind one protocol (``base``), opened by their specification (``registry``)."""
