"""Compression of responses with Zstandard, Brotli or gzip, and decompression of request bodies."""

from spica.middleware.compression.decompression import DecompressionMiddleware
from spica.middleware.compression.layer import DEFAULT_CONTENT_TYPES, CompressionMiddleware

__all__ = ["DEFAULT_CONTENT_TYPES", "CompressionMiddleware", "DecompressionMiddleware"]
