"""Price-level books, price buckets, aggregation over venues: the engine's part of the book will live here."""
